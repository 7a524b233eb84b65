// Calls from Python: programs over a batch, forward and backward. What they give is made here.
#pragma once
#include <cstring>
#include <utility>

#include "opening.h"
#include "pool.h"

namespace unspool {

// What stays the same from call to call of the same directions.
class Call {
 public:
  // directions: of (Program, reverse, used sources). form: of what products multiply, FLOAT32 or BFLOAT16.
  // stacked: the parts of a state are (directions, B, width) each, of all directions; else (B, width), of one.
  Call(const nb::list& directions, bool training, int form, bool stacked)
      : training(training), stacked(stacked), form((Form)form) {
    if (form != FLOAT32 && form != BFLOAT16)
      throw nb::value_error(("Calls have the forms float32 and bfloat16. Got form " + std::to_string(form) + ".").c_str());
    for (nb::handle item : directions) {
      const Items d(item, "a direction", 3);
      each.push_back({nb::borrow(d[0]), &nb::cast<const Program&>(d[0]), nb::cast<bool>(d[1]),
                      nb::cast<std::vector<int32_t>>(d[2]), parts, sources});
      const Program& p = *each.back().program;
      check(each.back(), training);
      if (p.input != each[0].program->input) throw nb::value_error("The programs of a call must take inputs of one width.");
      if (stacked && p.state_widths != each[0].program->state_widths)
        throw nb::value_error("States can be stacked where all directions have the same widths.");
      sources += each.back().used.size();
      parts = stacked ? p.state_widths.size() : parts + p.state_widths.size();
      width += p.state_widths.at(0);
    }
    if (each.empty()) throw nb::value_error("A call needs at least one direction. Got none.");
  }

  // values, offsets, index: as `Opened` takes them. tensors: of each direction the initial state's parts, then its
  // sources; stacked: the parts, then the sources of each direction. A part is None for zeros. Gives the output
  // (N, width) or (B, T, width), the final state's parts, and in training one tensor that `backward` needs.
  // lend: large ones in memory that goes from call to call.
  nb::object forward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle tensors, bool lend,
                     int threads) const {
    Opened in(values, offsets, index, each[0].program->input, threads, form);
    const Items given(tensors, "tensors", parts + sources);
    Results made(1 + parts + training);
    auto streams = streams_of(in, given, true, lend, made);
    if (training) {
      float* kept;
      made.add(make({kept_floats(in.batch)}, lend, kept));
      keep(streams, in.batch, kept);
    }
    {
      nb::gil_scoped_release release;
      run_forward(in.batch, streams);
    }
    return made.all;
  }

  // A tuple that is being filled.
  struct Results {
    explicit Results(size_t count) : all(nb::steal(PyTuple_New((Py_ssize_t)count))) {}
    void add(nb::object item) { PyTuple_SET_ITEM(all.ptr(), at++, item.release().ptr()); }
    nb::object all;
    Py_ssize_t at = 0;
  };

  // The streams of a call that starts from `given` (without sources: frozen), with what it gives in `made`.
  std::vector<Stream> streams_of(Opened& in, const Items& given, bool with_sources, bool lend, Results& made) const {
    float* output;
    made.add(make(in.rows(width), lend, output));
    auto streams = begun(in, given, with_sources, output);
    each_part(in.batch.sequences, [&](size_t, size_t, const Shape& shape) {
      float* final;
      made.add(make(shape, false, final));
      return final;
    }, [&](size_t d, size_t k, float* final) { streams[d].states[k].final = final; });
    return streams;
  }

  // output, kept, tensors: of the forward. dy: the output's gradient, or None. d_finals: of each final part, or None.
  // needs: whether the gradient of the values is wanted, then of each of `tensors`. Gives them, or None.
  nb::object backward(nb::handle values, nb::handle offsets, nb::handle index, nb::handle output, nb::handle kept,
                      nb::handle tensors, nb::handle dy, nb::handle d_finals, nb::handle needs, bool lend,
                      int threads) const {
    if (!training) throw nb::value_error("A call without training has no backward.");
    Opened in(values, offsets, index, each[0].program->input, threads, form);
    const Batch& batch = in.batch;
    const Items given(tensors, "tensors", parts + sources), finals(d_finals, "d_finals", parts);
    const Items wanted(needs, "needs", 1 + parts + sources);
    const auto wants = [&](size_t i) { return nb::cast<bool>(wanted[i]); };
    std::vector<nb::object> gradients(parts + sources);
    std::vector<std::pair<float*, int64_t>> zeros;
    const auto zeroed = [&](const Shape& shape, float*& data) {
      nb::object found = make(shape, lend, data);
      int64_t numbers = 1;
      for (int64_t n : shape) numbers *= n;
      zeros.push_back({data, numbers});
      return found;
    };

    std::vector<nb::object> dx(each.size());
    std::vector<float*> dx_floats(each.size(), nullptr);
    for (size_t d = 0; d < each.size(); d++)
      if (each[d].program->prologue_back.code.empty() ? wants(0) : (wants(0) || each[d].program->writes_dx))
        dx[d] = each[d].program->writes_dx ? make(in.input(), lend, dx_floats[d]) : zeroed(in.input(), dx_floats[d]);

    auto streams = begun(in, given, true, open_dense(output, {"the output"}, in.rows(width), in.held));
    keep(streams, batch, open_dense(kept, {"what a forward kept"}, {kept_floats(batch)}, in.held));
    float* work;
    const nb::object holds_work = make({work_floats(batch)}, lend, work);
    each_part(batch.sequences, [&](size_t part, size_t, const Shape& shape) -> float* {
      if (finals[part].is_none()) return nullptr;
      return open_dense(finals[part], {"the gradient of final state part", (int64_t)part}, shape, in.held);
    }, [&](size_t d, size_t k, float* gradient) { streams[d].states[k].d_final = gradient; });
    each_part(batch.sequences, [&](size_t, size_t place, const Shape& shape) -> float* {
      float* found = nullptr;
      if (wants(1 + place)) gradients[place] = make(shape, lend, found);
      return found;
    }, [&](size_t d, size_t k, float* gradient) { streams[d].states[k].d_initial = gradient; });

    int64_t column = 0, row_stride = 0;
    const float* dys = nullptr;
    if (!dy.is_none()) {
      const Rows rows = open_rows(dy, {"the output's gradient"}, width, in.held);
      if (rows.count != batch.tokens) open_dense(dy, {"the output's gradient"}, in.rows(width), in.held);
      dys = rows.data;
      row_stride = rows.stride;
    }
    for (size_t d = 0; d < each.size(); d++) {
      Stream& s = streams[d];
      const Program& p = *s.program;
      for (size_t i = 0; i < each[d].used.size(); i++)
        if (const size_t place = source_place(each[d], i); wants(1 + place))
          gradients[place] = zeroed(p.sources[each[d].used[i]].shape, s.parameters[each[d].used[i]].gradient);
      s.bstash = work;
      s.pgrad = s.bstash + batch.tokens * p.bstash;
      s.pbstash = s.pgrad + batch.tokens * p.pgrad;
      work = s.pbstash + batch.input_rows * p.pbstash;
      s.dx = dx_floats[d];
      if (dys) {
        s.dy = dys + column;
        s.dy_stride = row_stride;
      }
      column += p.state_widths[0];
    }
    {
      nb::gil_scoped_release release;
      clear(zeros, batch.threads);
      run_backward(batch, streams);
    }
    Results made(1 + gradients.size());
    for (size_t d = 1; wants(0) && d < dx.size(); d++) dx[0].attr("add_")(dx[d]);
    made.add(wants(0) ? dx[0] : nb::none());
    for (nb::object& gradient : gradients) made.add(gradient.ptr() ? gradient : nb::none());
    return made.all;
  }

  std::vector<Direction> each;
  bool training, stacked;
  Form form;
  size_t parts = 0, sources = 0;   // tensors, of all directions
  int64_t width = 0;               // of the output

 private:
  // Place of part k of direction d among a call's tensors, and of its source i.
  size_t place(const Direction& d, size_t k) const { return stacked ? k : d.parts_before + d.sources_before + k; }
  size_t source_place(const Direction& d, size_t i) const {
    return (stacked ? parts : d.parts_before + d.program->state_widths.size()) + d.sources_before + i;
  }

  // The streams with what goes into them, and the rows of the output.
  std::vector<Stream> begun(Opened& in, const Items& given, bool with_sources, float* output) const {
    std::vector<Stream> streams(each.size());
    each_part(in.batch.sequences, [&](size_t part, size_t place, const Shape& shape) -> float* {
      const nb::handle tensor = given[with_sources ? place : part];
      return tensor.is_none() ? nullptr : open_dense(tensor, {"state part", (int64_t)part}, shape, in.held);
    }, [&](size_t d, size_t k, float* initial) { streams[d].states[k].initial = initial; });
    for (size_t d = 0; d < each.size(); d++) {
      Stream& s = streams[d];
      s.program = each[d].program;
      s.reverse = each[d].reverse;
      s.states[0].rows = output;
      s.states[0].stride = width;
      output += s.program->state_widths[0];
      if (with_sources) add_parameters(s, each[d], given, source_place(each[d], 0));
    }
    return streams;
  }

  // What a forward keeps of each direction: rows of pstash and lstash, then the rows of all parts but the first.
  int64_t kept_floats(const Batch& batch) const {
    int64_t floats = 0;
    for (const Direction& d : each) {
      floats += batch.input_rows * d.program->pstash + batch.tokens * d.program->lstash;
      for (size_t k = 1; k < d.program->state_widths.size(); k++) floats += batch.tokens * d.program->state_widths[k];
    }
    return floats;
  }
  static void keep(std::vector<Stream>& streams, const Batch& batch, float* kept) {
    const auto next = [&](int64_t floats) { return std::exchange(kept, kept + floats); };
    for (Stream& s : streams) {
      s.pstash = next(batch.input_rows * s.program->pstash);
      s.lstash = next(batch.tokens * s.program->lstash);
    }
    for (Stream& s : streams)
      for (size_t k = 1; k < s.program->state_widths.size(); k++) {
        s.states[k].stride = s.program->state_widths[k];
        s.states[k].rows = next(batch.tokens * s.states[k].stride);
      }
  }
  int64_t work_floats(const Batch& batch) const {
    int64_t floats = 0;
    for (const Direction& d : each)
      floats += batch.tokens * (d.program->bstash + d.program->pgrad) + batch.input_rows * d.program->pbstash;
    return floats;
  }

  // Numbers set to zero, by all threads where there are many.
  static void clear(const std::vector<std::pair<float*, int64_t>>& zeros, int threads) {
    constexpr int64_t SOME = 1 << 16;
    std::vector<std::pair<float*, int64_t>> jobs;
    for (auto [data, count] : zeros)
      for (int64_t at = 0; at < count; at += SOME) jobs.push_back({data + at, std::min(SOME, count - at)});
    const auto job = [&](int i) { std::memset(jobs[i].first, 0, jobs[i].second * sizeof(float)); };
    parallel((int)jobs.size(), jobs.size() > 8 ? threads : 1, job);
  }

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

  // `open(part, its place among a call's tensors, shape)` for each tensor of a state, then `take(d, k, address)` for part
  // k of direction d.
  template <class Open, class Take>
  void each_part(int64_t sequences, Open open, Take take) const {
    size_t part = 0;
    for (size_t d = 0; d < (stacked ? 1 : each.size()); d++)
      for (size_t k = 0; k < each[d].program->state_widths.size(); k++) {
        const int64_t of_one = sequences * each[d].program->state_widths[k], count = stacked ? (int64_t)each.size() : 1;
        const Shape shape{count, sequences, each[d].program->state_widths[k]};
        float* found = open(part++, place(each[d], k), stacked ? shape : Shape{shape[1], shape[2]});
        for (int64_t i = 0; i < count; i++) take(d + i, k, found ? found + i * of_one : nullptr);
      }
  }
};

}  // namespace unspool
