// What Python sees: Program, forward, backward. Tensors come as addresses; the caller keeps them alive.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "pool.h"
#include "program.h"
#include "workspace.h"

namespace nb = nanobind;
using namespace unspool;
using Ints = std::vector<int64_t>;
using Rows = std::vector<std::vector<int32_t>>;

namespace {

Operand operand(const std::vector<int32_t>& v, size_t at) { return {v.at(at), v.at(at + 1), v.at(at + 2)}; }

// A row: op, width, inner, matrix, then buffer, offset, broadcast of out, a, b, c; then the pattern.
Tape tape(const Rows& rows, int64_t scratch) {
  Tape t;
  t.scratch = scratch;
  for (const auto& r : rows)
    t.code.push_back({(Op)r.at(0), r.at(1), r.at(2), r.at(3), operand(r, 4), operand(r, 7), operand(r, 10), operand(r, 13),
                      {r.begin() + 16, r.end()}});
  return t;
}

Place place(const std::vector<int32_t>& v, size_t at) { return {v.at(at), v.at(at + 1), v.at(at + 2)}; }

template <class T>
T* pointer(int64_t address) { return reinterpret_cast<T*>(address); }

Batch batch_of(const Ints& b) {
  Batch out;
  out.sequences = b.at(0);
  out.tokens = b.at(1);
  out.offsets = pointer<const int64_t>(b.at(2));
  out.x = pointer<const float>(b.at(3));
  out.x_stride = b.at(4);
  out.input_rows = b.at(5);
  out.index = pointer<const int64_t>(b.at(6));
  out.threads = (int)b.at(7);
  return out;
}

// parameters: data, row stride, column stride, gradient, gradient stride; states: rows, stride, initial, final,
// d_final, d_initial; buffers: pstash, lstash, bstash, pgrad, pbstash, dy, dy stride, dx.
Stream stream_of(const Program& program, bool reverse, const Ints& parameters, const Ints& states, const Ints& buffers) {
  Stream s;
  s.program = &program;
  s.reverse = reverse;
  for (size_t i = 0; i + 4 < parameters.size(); i += 5)
    s.parameters.push_back({pointer<const float>(parameters[i]), parameters[i + 1], parameters[i + 2],
                            pointer<float>(parameters[i + 3]), parameters[i + 4]});
  for (size_t k = 0; 6 * k + 5 < states.size(); k++) {
    const int64_t* v = &states[6 * k];
    s.states.at(k) = {pointer<float>(v[0]), v[1], pointer<const float>(v[2]), pointer<float>(v[3]),
                      pointer<const float>(v[4]), pointer<float>(v[5])};
  }
  s.pstash = pointer<float>(buffers.at(0));
  s.lstash = pointer<float>(buffers.at(1));
  s.bstash = pointer<float>(buffers.at(2));
  s.pgrad = pointer<float>(buffers.at(3));
  s.pbstash = pointer<float>(buffers.at(4));
  s.dy = pointer<const float>(buffers.at(5));
  s.dy_stride = buffers.at(6);
  s.dx = pointer<float>(buffers.at(7));
  return s;
}

// Dictionaries, and the very objects in them; held, so that none of these can give its place in memory to another.
class Snapshot {
 public:
  explicit Snapshot(const std::vector<nb::dict>& dicts) {
    for (const nb::dict& d : dicts) {
      dicts_.push_back({d, items_.size()});
      for (auto [key, value] : d) items_.push_back({nb::borrow(key), nb::borrow(value)});
    }
  }
  bool holds() const {
    for (size_t i = 0; i < dicts_.size(); i++) {
      const size_t first = dicts_[i].second, last = i + 1 < dicts_.size() ? dicts_[i + 1].second : items_.size();
      size_t at = first;
      Py_ssize_t place = 0;
      for (PyObject *key, *value; PyDict_Next(dicts_[i].first.ptr(), &place, &key, &value); at++)
        if (at == last || key != items_[at].first.ptr() || value != items_[at].second.ptr()) return false;
      if (at != last) return false;
    }
    return true;
  }

 private:
  std::vector<std::pair<nb::dict, size_t>> dicts_;   // and where its items start
  std::vector<std::pair<nb::object, nb::object>> items_;
};

// A step from Python; it keeps the interpreter's lock, which guards the addresses.
struct PythonStep {
  Step step;
  Ints used;   // which of the stream's parameters are given

  // addresses: of the input (rows, F), of every state part before and after the step (rows, width), of the parameters.
  void run(int64_t rows, const Ints& addresses, int threads) {
    Stream& stream = step.stream;
    const size_t parts = stream.program->state_widths.size();
    for (size_t k = 0; k < parts; k++) {
      stream.states[k].initial = pointer<const float>(addresses.at(1 + k));
      stream.states[k].final = pointer<float>(addresses.at(1 + parts + k));
    }
    for (size_t i = 0; i < used.size(); i++)
      stream.parameters.at(used[i]).data = pointer<const float>(addresses.at(1 + 2 * parts + i));
    step.run(rows, pointer<const float>(addresses[0]), threads);
  }
};

// Streams frozen for prediction. It need not keep the weights that it was made of.
struct FrozenStreams {
  std::vector<Stream> streams;
  Frozen frozen;

  using Call = std::vector<std::pair<Ints, Ints>>;   // states and buffers of each stream
  std::vector<Stream> called(const Call& call) const {
    std::vector<Stream> out;
    for (size_t d = 0; d < call.size(); d++)
      out.push_back(stream_of(*streams.at(d).program, streams[d].reverse, {}, call[d].first, call[d].second));
    return out;
  }
  void forward(const Ints& batch, const Call& call, bool projected) const {
    const auto run = called(call);
    const Batch b = batch_of(batch);
    nb::gil_scoped_release release;
    frozen.forward(b, run, projected);
  }
  // addresses: of the input (rows, F), then of every state part before and after the step.
  void step(int64_t rows, const Ints& addresses, int threads) {
    Stream& s = streams.at(0);
    const size_t parts = s.program->state_widths.size();
    for (size_t k = 0; k < parts; k++) {
      s.states[k].initial = pointer<const float>(addresses.at(1 + k));
      s.states[k].final = pointer<float>(addresses.at(1 + parts + k));
    }
    frozen.step(rows, pointer<const float>(addresses.at(0)), threads, s);
  }
};

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // programs live in caches until the interpreter ends
  nb::class_<Program>(m, "Program")
      .def("__init__",
           [](Program* p, std::vector<int32_t> state_widths, std::vector<int32_t> widths, std::vector<Rows> tapes,
              std::vector<int64_t> scratch, Rows matrices, Rows vector_parts,
              std::vector<std::pair<int32_t, float>> constants, Rows outers, Rows sums) {
             if (state_widths.size() > MAX_STATES) throw std::invalid_argument("too many state parts");
             new (p) Program();
             p->state_widths = state_widths;
             p->input = widths.at(0);
             p->pro = widths.at(1);
             p->pstash = widths.at(2);
             p->lstash = widths.at(3);
             p->bstash = widths.at(4);
             p->pgrad = widths.at(5);
             p->pbstash = widths.at(6);
             p->vectors = widths.at(7);
             p->prologue = tape(tapes.at(0), scratch.at(0));
             p->loop = tape(tapes.at(1), scratch.at(1));
             p->loop_back = tape(tapes.at(2), scratch.at(2));
             p->prologue_back = tape(tapes.at(3), scratch.at(3));
             for (const auto& v : matrices)
               p->matrices.push_back({v.at(0), v.at(1), v.at(2), v.at(3), v.at(4), v.at(5)});
             for (const auto& v : vector_parts) p->vector_parts.push_back({v.at(0), v.at(1), v.at(2), v.at(3)});
             for (const auto& c : constants) p->constants.push_back({c.first, c.second});
             for (const auto& v : outers) p->outers.push_back({place(v, 0), place(v, 3), v.at(6)});
             for (const auto& v : sums) p->sums.push_back({place(v, 0), v.at(3), v.at(4), v.at(5), place(v, 6)});
           },
           nb::arg("state_widths"), nb::arg("widths"), nb::arg("tapes"), nb::arg("scratch"), nb::arg("matrices"),
           nb::arg("vector_parts"), nb::arg("constants"), nb::arg("outers"), nb::arg("sums"));

  using StreamArgs = std::vector<nb::tuple>;
  auto streams_of = [](const StreamArgs& args) {
    std::vector<Stream> streams;
    for (const nb::tuple& a : args)
      streams.push_back(stream_of(nb::cast<const Program&>(a[0]), nb::cast<bool>(a[1]), nb::cast<Ints>(a[2]),
                                  nb::cast<Ints>(a[3]), nb::cast<Ints>(a[4])));
    return streams;
  };
  auto call = [streams_of](void (*run)(const Batch&, std::vector<Stream>&), const Ints& batch, const StreamArgs& args) {
    std::vector<Stream> streams = streams_of(args);
    const Batch b = batch_of(batch);
    nb::gil_scoped_release release;
    run(b, streams);
  };
  m.def("forward", [call](const Ints& batch, const StreamArgs& streams) { call(run_forward, batch, streams); });
  m.def("backward", [call](const Ints& batch, const StreamArgs& streams) { call(run_backward, batch, streams); });

  nb::class_<Snapshot>(m, "Snapshot").def(nb::init<const std::vector<nb::dict>&>()).def("holds", &Snapshot::holds);
  nb::class_<PythonStep>(m, "Step")
      .def("__init__",
           [](PythonStep* step, const Program& program, const Ints& parameters, const Ints& used) {
             new (step) PythonStep{Step(stream_of(program, false, parameters, {}, Ints(8))), used};
           },
           nb::keep_alive<1, 2>())
      .def("run", &PythonStep::run);

  // args: as those of forward; programs: theirs, kept alive; form: of FORMS.
  nb::class_<FrozenStreams>(m, "Frozen")
      .def("__init__",
           [streams_of](FrozenStreams* f, const StreamArgs& args, int form, int threads, nb::object) {
             auto streams = streams_of(args);
             new (f) FrozenStreams{streams, Frozen(streams, (Form)form, threads)};
           },
           nb::arg("args"), nb::arg("form"), nb::arg("threads"), nb::arg("programs"), nb::keep_alive<1, 5>())
      .def("project", [](FrozenStreams& f, const Ints& batch) { f.frozen.project(batch_of(batch), f.streams); })
      .def("forward", &FrozenStreams::forward, nb::arg("batch"), nb::arg("call"), nb::arg("projected"))
      .def("step", &FrozenStreams::step);

  // table: addresses of the values and the moments, width, 1 for double. rows: their address and number.
  auto rows_of = [](const Ints& table, const Ints& rows) {
    return AdamRows{pointer<void>(table.at(0)), pointer<void>(table.at(1)), pointer<void>(table.at(2)),
                    pointer<const int64_t>(rows.at(0)), rows.at(1), table.at(3), table.at(4) != 0};
  };
  m.def("adam_step", [rows_of](const Ints& table, const Ints& rows, int64_t gradient, int64_t decays,
                               const std::vector<double>& settings) {
    kernels().adam_step(rows_of(table, rows), {pointer<const void>(gradient), pointer<const double>(decays), settings.at(0),
                                               settings.at(1), settings.at(2), settings.at(3), settings.at(4)});
  });
  m.def("adam_catch_up", [rows_of](const Ints& table, const Ints& rows, int64_t coefficients, int64_t last, int64_t step,
                                   double rate) {
    kernels().adam_catch_up(rows_of(table, rows),
                            {pointer<const double>(coefficients), pointer<int64_t>(last), step, rate});
  });

  m.def("isa", [] { return std::string(kernels().name); });
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const char* n : {"portable", "avx2", "avx512", "avx512_bf16", "neon"})
      if (const Kernels* k = kernels_named(n); k && (names.empty() || names.back() != k->name)) names.push_back(k->name);
    return names;
  });
  m.def("threads_of", [] { return std::string(threads_of()); });
  m.def("waits_how", [] { return std::string(waits_how()); });
  m.def("lanes", [] { return kernels().lanes; });
  m.def("peak_flops", [](double seconds, int threads) {
    std::vector<double> each(threads);
    nb::gil_scoped_release release;
    parallel(threads, threads, [&](int i) { each[i] = kernels().peak(seconds); });
    double sum = 0;
    for (double v : each) sum += v;
    return sum;
  });

  nb::dict ops, buffers;
  int code = 0;
#define UNSPOOL_ENTRY(name, arity) ops[#name] = code++;
  UNSPOOL_OPS(UNSPOOL_ENTRY)
#undef UNSPOOL_ENTRY
  buffers["scratch"] = (int)SCRATCH; buffers["vec"] = (int)VEC; buffers["x"] = (int)X; buffers["pro"] = (int)PRO;
  buffers["pstash"] = (int)PSTASH; buffers["lstash"] = (int)LSTASH; buffers["bstash"] = (int)BSTASH;
  buffers["pgrad"] = (int)PGRAD; buffers["pbstash"] = (int)PBSTASH; buffers["dy"] = (int)DY; buffers["dx"] = (int)DX;
  buffers["state_in"] = (int)STATE_IN; buffers["state_out"] = (int)STATE_OUT;
  buffers["adj_in"] = (int)ADJ_IN; buffers["adj_out"] = (int)ADJ_OUT;
  nb::dict forms;
  forms["float32"] = (int)FLOAT32;
  forms["bfloat16"] = (int)BFLOAT16;
  forms["int8"] = (int)INT8;
  m.attr("FORMS") = forms;
  m.attr("OPS") = ops;
  m.attr("BUFFERS") = buffers;
  m.attr("MAX_STATES") = MAX_STATES;
  m.attr("MAX_AXES") = MAX_AXES;
}
