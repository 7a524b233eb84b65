// Programs one after another, a step at a time, for many sessions that each keep a row of state.
#pragma once
#include <memory>
#include <vector>

#include "program.h"

namespace unspool {

// Where a row lies during a step: in the input, the session's state before or after the step, or beside them.
enum class Part : int32_t { INPUT, BEFORE, AFTER, BESIDE };
struct Spot {
  Part part;
  int32_t offset;
};

// A program of a chain: its input, and its state's parts before and after.
struct Link {
  std::shared_ptr<const Frozen> of;
  const Program* program;
  Spot x;
  std::vector<Spot> in, out;
  bool ends;                 // it runs where a chunk ends, not at every step
};

// What a chain reads and writes. A session's row: its state (`width`), then its last output (`output_width`) if `keeps`.
struct Sessions {
  float* rows = nullptr;             // (capacity, row)
  int64_t* steps = nullptr;          // (capacity): steps that each has had
  int64_t row = 0;
  int64_t count = 0;                 // sessions that get something
  const int64_t* slots = nullptr;    // (count): different ones
  const int64_t* offsets = nullptr;  // (count + 1): tokens of each
  const float* x = nullptr;          // (input rows, input), x_stride apart
  int64_t x_stride = 0;
  const int64_t* index = nullptr;    // (tokens): input row of each; null: its own
  float* out = nullptr;              // (count or tokens, output_width)
};

class Chain {
 public:
  // beside: floats of a row beside the states; the number of steps so far lies at the first of them.
  // every: an output a step, not one a chunk.
  Chain(std::vector<Link> links, int32_t input, int32_t width, int32_t beside, Spot output, int32_t output_width, bool every);
  void run(const Sessions&, int threads) const;

  const int32_t input, width, beside, output_width;
  const bool every;
  int64_t row() const { return width + (every ? 0 : output_width); }

 private:
  struct Lane;
  void tile(const Sessions&, const int64_t* order, int rows) const;
  void step(Lane* lanes, int first, int last, bool ends) const;
  std::vector<Link> links_;
  Spot output_;
  int64_t scratch_ = 0, pro_ = 0;
};

}  // namespace unspool
