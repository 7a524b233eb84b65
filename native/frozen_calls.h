// A step from Python, and calls of frozen weights.
#pragma once
#include <memory>

#include "calls.h"

namespace unspool {

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

// A step from Python. Threads may share it: what it finds in tensors is the call's own, as looking at a tensor can let go
// of the interpreter's lock.
class PythonStep {
 public:
  // call: of one direction, without training.
  explicit PythonStep(const Call& call) : direction_(only(call)) {}

  // Whether the tensors are what the program needs; then it has run.
  bool run(nb::handle tensors, nb::handle sources, int threads) const {
    const float* x;
    int64_t rows;
    Stream stream;
    stream.program = direction_.program;
    try {
      rows = open_step(stream, x, tensors);
      add_parameters(stream, direction_, Items(sources, "sources", direction_.used.size()), 0);
    } catch (const nb::python_error&) {
      return false;
    } catch (const nb::builtin_exception&) {
      return false;
    }
    run_step(rows, x, checked_threads(threads), stream);
    return true;
  }

  static const Direction& only(const Call& call) {
    if (call.each.size() != 1 || call.training) throw nb::value_error("A step needs a call of one direction, without training.");
    return call.each[0];
  }

 private:
  Direction direction_;
};

// What the prologues of a frozen call made of some rows.
struct Projected {
  std::shared_ptr<const Frozen> of;
  int64_t rows = 0;
  Workspace space;
  std::vector<float*> tables;
};

// A call's directions frozen for prediction, with weights laid out once. It need not keep those that it was made of.
class FrozenCall {
 public:
  FrozenCall(const Call& call, nb::handle sources, int form, int threads) : call_(call) {
    if (form < FLOAT32 || form > INT8) throw nb::value_error(("There is no form " + std::to_string(form) + ".").c_str());
    if (call.training) throw nb::value_error("Only a call without training can be frozen.");
    const Items given(sources, "sources", call.sources);
    std::vector<Stream> all = streams();
    for (size_t i = 0; i < all.size(); i++) add_parameters(all[i], call_.each[i], given, call_.each[i].sources_before);
    frozen_ = std::make_shared<const Frozen>(all, (Form)form, checked_threads(threads));
  }

  std::unique_ptr<Projected> project(nb::handle values, int threads) const {
    Held held;
    Batch batch;
    const Rows x = open_rows(values, {"the input"}, call_.each[0].program->input, held);
    batch.x = x.data;
    batch.x_stride = x.stride;
    batch.input_rows = x.count;
    batch.threads = checked_threads(threads);
    auto made = std::make_unique<Projected>();
    made->of = frozen_;
    made->rows = x.count;
    made->tables = frozen_->project(batch, streams(), made->space);
    return made;
  }

  // As Call.forward, without sources. projected: the index is into these rows, as many as `values`; or None.
  nb::object forward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle states,
                     const Projected* projected, int threads) const {
    Opened in(values, offsets, index, call_.each[0].program->input, threads, FLOAT32);
    if (projected && (index.is_none() || in.batch.input_rows != projected->rows || projected->of != frozen_))
      throw nb::value_error("A projected call needs an index into the rows that this call projected.");
    Call::Results made(1 + call_.parts);
    const auto streams = call_.streams_of(in, Items(states, "states", call_.parts), false, true, made);
    {
      nb::gil_scoped_release release;
      frozen_->forward(in.batch, streams, projected ? projected->tables : std::vector<float*>());
    }
    return made.all;
  }

  // As PythonStep.run.
  bool step(nb::handle tensors, int threads) const {
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

  // Of a call of one direction.
  const Program* program() const { return PythonStep::only(call_).program; }
  std::shared_ptr<const Frozen> frozen() const { return frozen_; }

 private:
  // Without weights.
  std::vector<Stream> streams() const {
    std::vector<Stream> made(call_.each.size());
    for (size_t i = 0; i < made.size(); i++) {
      made[i].program = call_.each[i].program;
      made[i].reverse = call_.each[i].reverse;
    }
    return made;
  }
  Call call_;
  std::shared_ptr<const Frozen> frozen_;
};

}  // namespace unspool
