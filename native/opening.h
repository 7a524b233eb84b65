// What every call from Python is given, compared at the door with what its programs need.
#pragma once
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "door.h"
#include "program.h"

namespace unspool {

// A program in a call: the one that Python holds, the way it goes, and the sources that are given.
struct Direction {
  nb::object held;
  const Program* program;
  bool reverse;
  std::vector<int32_t> used;
  size_t parts_before = 0, sources_before = 0;   // of the directions before it
};

inline Shape shape(int64_t rows, int64_t columns) { return {rows, columns}; }

inline Parameter parameter_of(const Direction& d, size_t i, nb::handle tensor) {
  const Source& source = d.program->sources.at(d.used[i]);
  const Array a = open_shaped(tensor, {"weight", -1, source.name.c_str()}, source.shape);
  return {a.floats(), a.row_stride, a.column_stride, nullptr, a.columns};
}

// The sources of a direction are `tensors` from `at` on.
inline void add_parameters(Stream& s, const Direction& d, const Items& tensors, size_t at) {
  s.parameters.resize(d.program->sources.size());
  for (size_t i = 0; i < d.used.size(); i++) s.parameters[d.used[i]] = parameter_of(d, i, tensors[at++]);
}

inline int checked_threads(int threads) {
  constexpr int MOST = 4096;
  if (threads < 1 || threads > MOST)
    throw nb::value_error(("threads must be in [1, " + std::to_string(MOST) + "]. Got " + std::to_string(threads) + ".").c_str());
  return threads;
}

inline Array open_ints(nb::handle tensor, const Name& name) {
  const Array a = open(tensor, name, Type::INT64);
  if (a.axes != 1 || !a.contiguous())
    refuse(Error::DATA, name.text() + " must be a contiguous tensor of one axis. Got one of " + std::to_string(a.axes) +
                            ". Flatten it, or call .contiguous() on it.");
  return a;
}

inline void check_offsets(const int64_t* offsets, int64_t count, int64_t tokens) {
  bool right = count > 0 && offsets[0] == 0 && offsets[count - 1] == tokens;
  for (int64_t i = 1; right && i < count; i++) right = offsets[i] >= offsets[i - 1];
  if (!right)
    refuse(Error::DATA, "The offsets must go from 0 to the number of tokens, " + std::to_string(tokens) +
                            ", and never down. Got " + std::to_string(count) +
                            (count ? " from " + std::to_string(offsets[0]) + " to " + std::to_string(offsets[count - 1]) : "") +
                            ".");
}

inline void check_index(const int64_t* index, int64_t count, int64_t rows) {
  int64_t low = 0, high = -1;
  for (int64_t i = 0; i < count; i++) {
    low = std::min(low, index[i]);
    high = std::max(high, index[i]);
  }
  if (low < 0 || high >= rows)
    refuse(Error::INDEX, "The index must be in [0, " + std::to_string(rows) + "), the rows of the input. Got " +
                             std::to_string(low < 0 ? low : high) + ".");
}

// A batch, and what it points to that is no tensor's: it must stay where it is.
struct Opened {
  Batch batch;
  Held held;
  std::vector<int64_t> ends;

  // values: (N, F) with offsets, or (B, T, F) without. index: None, or of `values` (N, F).
  Opened(nb::handle values, nb::handle offsets, nb::handle index, int64_t input, int threads, Form form) {
    const Rows x = open_rows(values, {"the input"}, input, held);
    batch.x = x.data;
    batch.x_stride = x.stride;
    batch.input_rows = batch.tokens = x.count;
    batch.form = form;
    if (!index.is_none()) {
      const Array places = open_ints(index, {"the index"});
      check_index(places.ints(), places.columns, x.count);
      batch.index = places.ints();
      batch.tokens = places.columns;
    }
    if (offsets.is_none()) {
      if (x.sequences < 0 || !index.is_none()) throw nb::value_error("A call without offsets takes (B, T, F), and no index.");
      for (int64_t b = 0; b <= x.sequences; b++) ends.push_back(b * x.steps);
      batch.offsets = ends.data();
      batch.sequences = x.sequences;
    } else {
      const Array given = open_ints(offsets, {"the offsets"});
      check_offsets(given.ints(), given.columns, batch.tokens);
      batch.offsets = given.ints();
      batch.sequences = given.columns - 1;
    }
    indexed_ = !index.is_none();
    input_ = x.sequences < 0 ? Shape{x.count, input} : Shape{x.sequences, x.steps, input};
    batch.threads = checked_threads(threads);
  }
  Opened(const Opened&) = delete;

  const Shape& input() const { return input_; }
  // Of a row of this width for each token.
  Shape rows(int64_t width) const {
    if (indexed_) return {batch.tokens, width};
    Shape found = input_;
    found.back() = width;
    return found;
  }

 private:
  Shape input_;
  bool indexed_;
};

}  // namespace unspool
