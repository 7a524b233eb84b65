// Faults on purpose, in builds with sanitizers alone: each must be reported (tests/sanitize.py).
#include "plant.h"

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "abi.h"
#include "pool.h"

namespace unspool {

void plant(const std::string& kind) {
  std::vector<float> numbers(12);
  std::vector<int64_t> rows{0};
  const std::vector<float> gradient(4, 1);
  const std::vector<double> decays(2, 0.5);
  const auto step = [&] {              // writes row rows[0] of a table of one
    const AdamRows where{numbers.data(), numbers.data() + 4, numbers.data() + 8, rows.data(), 1, 4, false};
    kernels().adam_step(where, {gradient.data(), decays.data(), 0.9, 0.999, 1e-8, 0.001, 1});
  };
  static int shared = 0;
  if (kind == "race") {
    together(2, [&](int, int) { step(); });
  } else if (kind == "shared") {       // guarded by the interpreter's lock alone
    shared++;
  } else if (kind == "overflow") {
    rows[0] = 3;
    step();
  } else if (kind == "undefined") {
    rows[0] = INT64_MAX / 2;
    step();
  } else {
    throw std::invalid_argument("There is no plant '" + kind + "'.");
  }
}

}  // namespace unspool
