// Calls from Python: their tensors, compared at the door with what the programs need, and put where these read them.
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
};

inline Shape shape(int64_t rows, int64_t columns) { return {rows, columns}; }

inline Parameter parameter_of(const Direction& d, size_t i, nb::handle tensor) {
  const Source& source = d.program->sources.at(d.used[i]);
  const Array a = open_shaped(tensor, {"weight", -1, source.name.c_str()}, source.shape);
  return {a.floats(), a.row_stride, a.column_stride, nullptr, a.columns};
}

// The streams of a direction, with `parts` and `sources` from `tensors` on, which then stands behind them.
inline Stream stream_of(const Direction& d, const Items& tensors, size_t& at, int64_t sequences) {
  Stream s;
  s.program = d.program;
  s.reverse = d.reverse;
  for (size_t k = 0; k < d.program->state_widths.size(); k++)
    s.states[k].initial =
        open_block(tensors[at++], {"state part", (int64_t)k}, shape(sequences, d.program->state_widths[k])).floats();
  return s;
}
inline void add_parameters(Stream& s, const Direction& d, const Items& tensors, size_t& at) {
  s.parameters.resize(d.program->sources.size());
  for (size_t i = 0; i < d.used.size(); i++) s.parameters[d.used[i]] = parameter_of(d, i, tensors[at++]);
}

inline int checked_threads(int threads) {
  constexpr int MOST = 4096;
  if (threads < 1 || threads > MOST)
    throw nb::value_error(("threads must be in [1, " + std::to_string(MOST) + "]. Got " + std::to_string(threads) + ".").c_str());
  return threads;
}

// (N, F) rows whose features lie side by side.
inline Array open_rows(nb::handle tensor, const Name& name, int64_t columns) {
  const Array a = open(tensor, name);
  if (a.axes != 2 || a.columns != columns)
    refuse(Error::ENGINE, name.text() + " must have shape (N, " + std::to_string(columns) + "). Got " +
                              (a.axes == 2 ? "(" + std::to_string(a.rows) + ", " + std::to_string(a.columns) + ")"
                                           : std::to_string(a.axes) + " axes") + ".");
  if (a.column_stride != 1 && a.columns > 1 && a.rows > 0)
    refuse(Error::ENGINE, name.text() + " must have the numbers of a row side by side. Call .contiguous() on it.");
  return a;
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

inline Batch batch_of(nb::handle values, nb::handle offsets, nb::handle index, int64_t input, int threads) {
  Batch out;
  const Array x = open_rows(values, {"the input"}, input);
  const Array ends = open_ints(offsets, {"the offsets"});
  out.x = x.floats();
  out.x_stride = x.row_stride;
  out.input_rows = out.tokens = x.rows;
  if (!index.is_none()) {
    const Array places = open_ints(index, {"the index"});
    check_index(places.ints(), places.columns, x.rows);
    out.index = places.ints();
    out.tokens = places.columns;
  }
  check_offsets(ends.ints(), ends.columns, out.tokens);
  out.offsets = ends.ints();
  out.sequences = ends.columns - 1;
  out.threads = checked_threads(threads);
  return out;
}

// What stays the same from call to call of the same directions.
class Call {
 public:
  // directions: of (Program, reverse, used sources). form: of what products multiply, FLOAT32 or BFLOAT16.
  Call(const nb::list& directions, bool training, int form) : training(training), form((Form)form) {
    if (form != FLOAT32 && form != BFLOAT16)
      throw nb::value_error(("Calls have the forms float32 and bfloat16. Got form " + std::to_string(form) + ".").c_str());
    for (nb::handle item : directions) {
      const Items d(item, "a direction", 3);
      each.push_back({nb::borrow(d[0]), &nb::cast<const Program&>(d[0]), nb::cast<bool>(d[1]),
                      nb::cast<std::vector<int32_t>>(d[2])});
      check(each.back(), training);
      if (each.back().program->input != each[0].program->input)
        throw nb::value_error("The programs of a call must take inputs of one width.");
      parts += each.back().program->state_widths.size();
      sources += each.back().used.size();
      width += each.back().program->state_widths.at(0);
    }
    if (each.empty()) throw nb::value_error("A call needs at least one direction. Got none.");
  }

  // tensors: of each direction the initial state's parts, then its sources. results: the output (N, width), then the
  // final state's parts. kept, in training: of each direction the rows (N, ·) of all parts but the first, pstash, lstash.
  void forward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle tensors, nb::handle results,
               nb::handle kept, int threads) const {
    Batch batch = batch_of(values, offsets, index, each[0].program->input, threads);
    batch.form = form;
    auto streams = streams_of(batch, tensors, results, kept, true);
    nb::gil_scoped_release release;
    run_forward(batch, streams);
  }

  std::vector<Stream> streams_of(const Batch& batch, nb::handle tensors, nb::handle results, nb::handle kept,
                                 bool with_sources) const {
    const Items in(tensors, "tensors", parts + (with_sources ? sources : 0)), out(results, "results", 1 + parts);
    const Items keep(kept, "kept", training ? parts + each.size() : 0);
    const Array output = open_block(out[0], {"the output"}, shape(batch.tokens, width));
    std::vector<Stream> streams;
    size_t at = 0, result = 1, kept_at = 0;
    int64_t column = 0;
    for (const Direction& d : each) {
      Stream s = stream_of(d, in, at, batch.sequences);
      if (with_sources) add_parameters(s, d, in, at);
      for (size_t k = 0; k < d.program->state_widths.size(); k++)
        s.states[k].final = open_block(out[result++], {"the final state's part", (int64_t)k},
                                       shape(batch.sequences, d.program->state_widths[k])).floats();
      s.states[0].rows = output.floats() + column;
      s.states[0].stride = width;
      if (training) add_kept(s, batch, keep, kept_at);
      column += d.program->state_widths[0];
      streams.push_back(std::move(s));
    }
    return streams;
  }

  // kept, tensors: as in forward. dy: the output's gradient, or None. d_finals: of each final part, or None. dx: the
  // input's, one of each direction, or None. gradients: of `tensors`, None where they are not wanted; of sources they
  // are added to. work: of each direction bstash, pgrad, pbstash.
  void backward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle output, nb::handle tensors,
                nb::handle kept, nb::handle dy, nb::handle d_finals, nb::handle dx, nb::handle gradients, nb::handle work,
                int threads) const {
    if (!training) throw nb::value_error("A call without training has no backward.");
    Batch batch = batch_of(values, offsets, index, each[0].program->input, threads);
    batch.form = form;
    const Items in(tensors, "tensors", parts + sources), keep(kept, "kept", parts + each.size());
    const Items finals(d_finals, "d_finals", parts), grads(gradients, "gradients", parts + sources);
    const Items space(work, "work", 3 * each.size());
    const Array out = open_block(output, {"the output"}, shape(batch.tokens, width));
    Array dys;
    if (!dy.is_none()) {
      dys = open_rows(dy, {"the output's gradient"}, width);
      if (dys.rows != batch.tokens) open_shaped(dy, {"the output's gradient"}, shape(batch.tokens, width));
    }
    std::vector<Stream> streams;
    size_t at = 0, final_at = 0, kept_at = 0;
    int64_t column = 0;
    for (size_t i = 0; i < each.size(); i++) {
      const Direction& d = each[i];
      const Program& p = *d.program;
      size_t gradient = at;
      Stream s = stream_of(d, in, at, batch.sequences);
      add_parameters(s, d, in, at);
      s.states[0].rows = out.floats() + column;
      s.states[0].stride = width;
      add_kept(s, batch, keep, kept_at);
      for (size_t k = 0; k < p.state_widths.size(); k++, final_at++, gradient++) {
        const Shape rows = shape(batch.sequences, p.state_widths[k]);
        if (!finals[final_at].is_none())
          s.states[k].d_final = open_block(finals[final_at], {"the gradient of final state part", (int64_t)k}, rows).floats();
        if (!grads[gradient].is_none())
          s.states[k].d_initial = open_block(grads[gradient], {"the gradient of state part", (int64_t)k}, rows).floats();
      }
      for (int32_t source : d.used)
        if (nb::handle g = grads[gradient++]; !g.is_none())
          s.parameters[source].gradient =
              open_block(g, {"the gradient of", -1, p.sources[source].name.c_str()}, p.sources[source].shape).floats();
      s.bstash = open_block(space[3 * i], {"bstash"}, shape(batch.tokens, p.bstash)).floats();
      s.pgrad = open_block(space[3 * i + 1], {"pgrad"}, shape(batch.tokens, p.pgrad)).floats();
      s.pbstash = open_block(space[3 * i + 2], {"pbstash"}, shape(batch.input_rows, p.pbstash)).floats();
      if (dys.data) {
        s.dy = dys.floats() + column;
        s.dy_stride = dys.row_stride;
      }
      if (!dx.is_none())
        s.dx = open_block(Items(dx, "dx", each.size())[i], {"the input's gradient"}, shape(batch.input_rows, p.input)).floats();
      else if (p.writes_dx)
        throw nb::value_error("The program makes the input's gradient. Got no dx to write it to.");
      column += p.state_widths[0];
      streams.push_back(std::move(s));
    }
    nb::gil_scoped_release release;
    run_backward(batch, streams);
  }

  std::vector<Direction> each;
  bool training;
  Form form;
  size_t parts = 0, sources = 0;   // of all directions
  int64_t width = 0;               // of the output

 private:
  static void check(const Direction& d, bool training) {
    const Program& p = *d.program;
    if (training != !p.loop_back.code.empty())
      throw nb::value_error(training ? "A training call needs programs with a backward. Got one without."
                                     : "A call without training needs programs without a backward. Got one that has it.");
    std::vector<char> given(p.sources.size(), 0);
    for (int32_t source : d.used) {
      if (source < 0 || source >= (int64_t)given.size())
        throw nb::value_error(("The sources used must be in [0, " + std::to_string(given.size()) + "). Got " +
                               std::to_string(source) + ".").c_str());
      given[source] = 1;
    }
    for (int32_t source : p.reads)
      if (!given[source])
        throw nb::value_error(("The program reads source " + std::to_string(source) + ", which is not among those used.").c_str());
  }

  static void add_kept(Stream& s, const Batch& batch, const Items& kept, size_t& at) {
    const Program& p = *s.program;
    for (size_t k = 1; k < p.state_widths.size(); k++) {
      s.states[k].rows = open_block(kept[at++], {"kept rows of state part", (int64_t)k},
                                    shape(batch.tokens, p.state_widths[k])).floats();
      s.states[k].stride = p.state_widths[k];
    }
    s.pstash = open_block(kept[at++], {"what the prologue kept"}, shape(batch.input_rows, p.pstash)).floats();
    s.lstash = open_block(kept[at++], {"what the loop kept"}, shape(batch.tokens, p.lstash)).floats();
  }
};

// One step's tensors: the input (B, F), the state's parts before and after it.
inline int64_t open_step(Stream& s, const float*& x, nb::handle tensors) {
  const Program& p = *s.program;
  const size_t parts = p.state_widths.size();
  const Items given(tensors, "tensors", 1 + 2 * parts);
  const Array in = open(given[0], {"the input"});
  open_block(given[0], {"the input"}, shape(in.rows, p.input));
  x = in.floats();
  for (size_t k = 0; k < parts; k++) {
    const Shape rows = shape(in.rows, p.state_widths[k]);
    s.states[k].initial = open_block(given[1 + k], {"state part", (int64_t)k}, rows).floats();
    s.states[k].final = open_block(given[1 + parts + k], {"the next state's part", (int64_t)k}, rows).floats();
  }
  return in.rows;
}

// A step from Python. Looking at a tensor can let go of the interpreter's lock, so what it finds is the call's own;
// the step itself then runs under the lock, which guards its memory.
class PythonStep {
 public:
  // call: of one direction, without training.
  explicit PythonStep(const Call& call) : direction_(only(call)), step_(*direction_.program) {}

  // Whether the tensors are what the program needs; then it has run.
  bool run(nb::handle tensors, nb::handle sources, int threads) {
    const float* x;
    int64_t rows;
    Stream stream;
    stream.program = direction_.program;
    try {
      rows = open_step(stream, x, tensors);
      const Items given(sources, "sources", direction_.used.size());
      size_t at = 0;
      add_parameters(stream, direction_, given, at);
    } catch (const nb::python_error&) {
      return false;
    } catch (const nb::builtin_exception&) {
      return false;
    }
    step_.run(rows, x, checked_threads(threads), stream);
    return true;
  }

  static const Direction& only(const Call& call) {
    if (call.each.size() != 1 || call.training) throw nb::value_error("A step needs a call of one direction, without training.");
    return call.each[0];
  }

 private:
  Direction direction_;
  Step step_;
};

// A call's directions frozen for prediction, with weights laid out once. It need not keep those that it was made of.
class FrozenCall {
 public:
  FrozenCall(const Call& call, nb::handle sources, int form, int threads) : call_(call) {
    if (form < FLOAT32 || form > INT8) throw nb::value_error(("There is no form " + std::to_string(form) + ".").c_str());
    if (call.training) throw nb::value_error("Only a call without training can be frozen.");
    const Items given(sources, "sources", call.sources);
    size_t at = 0;
    for (const Direction& d : call_.each) {
      Stream s;
      s.program = d.program;
      s.reverse = d.reverse;
      add_parameters(s, d, given, at);
      streams_.push_back(std::move(s));
    }
    frozen_.emplace(streams_, (Form)form, checked_threads(threads));
  }

  void project(nb::handle values, int threads) {
    Batch batch;
    const Array x = open_rows(values, {"the input"}, call_.each[0].program->input);
    batch.x = x.floats();
    batch.x_stride = x.row_stride;
    batch.input_rows = projected_ = x.rows;
    batch.threads = checked_threads(threads);
    frozen_->project(batch, streams_);
  }

  // As Call.forward, without sources. projected: the index is into the rows that were projected, as many as `values`.
  void forward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle states, nb::handle results,
               bool projected, int threads) const {
    const Batch batch = batch_of(values, offsets, index, call_.each[0].program->input, threads);
    if (projected && (index.is_none() || batch.input_rows != projected_))
      throw nb::value_error("A projected call needs an index into the rows that were projected.");
    const auto streams = call_.streams_of(batch, states, results, nb::tuple(), false);
    nb::gil_scoped_release release;
    frozen_->forward(batch, streams, projected);
  }

  // As PythonStep.run.
  bool step(nb::handle tensors, int threads) {
    PythonStep::only(call_);
    const float* x;
    int64_t rows;
    Stream stream;
    stream.program = call_.each[0].program;
    try {
      rows = open_step(stream, x, tensors);
    } catch (const nb::python_error&) {
      return false;
    } catch (const nb::builtin_exception&) {
      return false;
    }
    frozen_->step(rows, x, checked_threads(threads), stream);
    return true;
  }

 private:
  Call call_;
  std::vector<Stream> streams_;
  std::optional<Frozen> frozen_;
  int64_t projected_ = -1;
};

}  // namespace unspool
