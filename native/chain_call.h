// A chain from Python.
#pragma once
#include <numeric>

#include "chain.h"
#include "frozen_calls.h"

namespace unspool {

class ChainCall {
 public:
  // links: of (Frozen of one direction, x, [before], [after], ends), a spot being (part, offset).
  ChainCall(const nb::list& links, int32_t input, int32_t width, int32_t beside, std::pair<int32_t, int32_t> output,
            int32_t output_width, bool every)
      : chain_(made(links, held_), input, width, beside, spot(output), output_width, every) {}

  // rows (capacity, row) float32 and steps (capacity) int64 are changed in place. slots (n): different ones. offsets
  // (n + 1): of the tokens of each. x (N, input); index: None, or for each token its row of x. out: (n, output width), or
  // (N, output width) with an output a step.
  void run(nb::handle rows, nb::handle steps, nb::handle slots, nb::handle offsets, nb::handle x, nb::handle index,
           nb::handle out, int threads) const {
    Sessions s;
    Held held;
    const Array places = open_ints(slots, {"the slots"}), ends = open_ints(offsets, {"the offsets"});
    const Array had = open_ints(steps, {"the steps"});
    const int64_t capacity = had.columns;
    s.count = places.columns;
    s.slots = places.ints();
    s.steps = had.ints();
    s.row = chain_.row();
    s.rows = open_block(rows, {"the sessions"}, shape(capacity, s.row)).floats();
    check_index(s.slots, s.count, capacity);
    if (s.count > 1) {
      std::vector<int64_t> sorted(s.slots, s.slots + s.count);
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
        refuse(Error::DATA, "A session can get one chunk a call. Got two for one.");
    }
    const Rows values = open_rows(x, {"the input"}, chain_.input, held);
    s.x = values.data;
    s.x_stride = values.stride;
    int64_t tokens = values.count;
    if (!index.is_none()) {
      const Array at = open_ints(index, {"the index"});
      check_index(at.ints(), at.columns, values.count);
      s.index = at.ints();
      tokens = at.columns;
    }
    if (ends.columns != s.count + 1) refuse(Error::DATA, "There must be an offset more than slots.");
    s.offsets = ends.ints();
    check_offsets(s.offsets, ends.columns, tokens);
    s.out = open_block(out, {"the output"}, shape(chain_.every ? tokens : s.count, chain_.output_width)).floats();
    const int most = checked_threads(threads);
    nb::gil_scoped_release release;
    chain_.run(s, most);
  }

 private:
  static Spot spot(std::pair<int32_t, int32_t> at) {
    if (at.first < 0 || at.first > (int32_t)Part::BESIDE) throw nb::value_error("A spot's part must be in [0, 3].");
    return {(Part)at.first, at.second};
  }
  static std::vector<Link> made(const nb::list& links, std::vector<nb::object>& held) {
    using Spots = std::vector<std::pair<int32_t, int32_t>>;
    std::vector<Link> found;
    for (nb::handle item : links) {
      const Items l(item, "a link", 5);
      held.push_back(nb::borrow(l[0]));
      const auto& call = nb::cast<const FrozenCall&>(l[0]);
      Link link{call.frozen(), call.program(), spot(nb::cast<std::pair<int32_t, int32_t>>(l[1])), {}, {}, nb::cast<bool>(l[4])};
      for (auto at : nb::cast<Spots>(l[2])) link.in.push_back(spot(at));
      for (auto at : nb::cast<Spots>(l[3])) link.out.push_back(spot(at));
      found.push_back(std::move(link));
    }
    return found;
  }
  std::vector<nb::object> held_;   // the programs live in them
  Chain chain_;
};

}  // namespace unspool
