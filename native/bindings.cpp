// What Python sees: Program, the calls of programs, Adam for rows. Tensors come in through the door.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "chain_call.h"
#include "draws.h"
#include "plant.h"
#include "pool.h"
#include "rows.h"
#include "snapshot.h"
#include "words.h"

using namespace unspool;
using Table = std::vector<std::vector<int32_t>>;

namespace {

// Rows of `width` numbers each, which `take` takes.
template <class F>
void each_row(const Table& rows, const char* what, size_t width, F take) {
  for (const auto& row : rows) {
    if (row.size() != width)
      throw std::invalid_argument(std::string(what) + ": rows of " + std::to_string(width) + " numbers. Got one of " +
                                  std::to_string(row.size()) + ".");
    take(row.data());
  }
}

Operand operand(const int32_t* v) { return {v[0], v[1], v[2]}; }
Place place(const int32_t* v) { return {v[0], v[1], v[2]}; }

// A row: op, width, inner, matrix, then buffer, offset, broadcast of out, a, b, c; then the pattern.
Tape tape(const std::pair<Table, int64_t>& code_and_scratch) {
  Tape t;
  t.scratch = code_and_scratch.second;
  for (const auto& row : code_and_scratch.first) {
    if (row.size() < 16) throw std::invalid_argument("instructions: rows of 16 numbers or more. Got one of fewer.");
    const int32_t* v = row.data();
    t.code.push_back({(Op)v[0], v[1], v[2], v[3], operand(v + 4), operand(v + 7), operand(v + 10), operand(v + 13),
                      {row.begin() + 16, row.end()}});
  }
  return t;
}

// A table of Adam's and the rows of it that a step is about.
AdamRows adam_rows(nb::handle table, nb::handle mean, nb::handle square, nb::handle rows, Array& values) {
  values = open_real(table, {"the table"});
  const Shape all = shape(values.rows, values.columns);
  open_block(table, {"the table"}, all, values.type);
  const Array places = open_ints(rows, {"the rows"});
  check_index(places.ints(), places.columns, values.rows);
  return {values.data, open_block(mean, {"the first moments"}, all, values.type).data,
          open_block(square, {"the second moments"}, all, values.type).data, places.ints(), places.columns, values.columns,
          values.type == Type::FLOAT64};
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // programs live in caches until the interpreter ends
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_cast&) {
      PyErr_SetString(PyExc_TypeError, "An argument has a part of another type than it must have.");
    }
  });
  // widths: floats a row of each buffer by its name, with "input" and "vectors". sources: (name, shape). tapes: by their
  // names, (instructions, floats of scratch a row). matrices: source, row, column, inner, width, transposed. vectors:
  // offset, source, first, width. constants: offset, value. outers: place of the source, of the gradient, matrix. sums:
  // place of the gradient, width, source, first, place of the factor. A place: prologue, buffer, offset.
  nb::class_<Program>(m, "Program")
      .def("__init__",
           [](Program* program, const std::vector<int32_t>& state_widths, const nb::dict& widths,
              const std::vector<std::pair<std::string, Shape>>& sources, const nb::dict& tapes, const Table& matrices,
              const Table& vectors, const std::vector<std::pair<int32_t, float>>& constants, const Table& outers,
              const Table& sums) {
             Program p;
             const auto width = [&](const char* name) { return nb::cast<int32_t>(widths[name]); };
             const auto tape_of = [&](const char* name) { return tape(nb::cast<std::pair<Table, int64_t>>(tapes[name])); };
             p.state_widths = state_widths;
             p.input = width("input");
             p.pro = width("pro");
             p.pstash = width("pstash");
             p.lstash = width("lstash");
             p.bstash = width("bstash");
             p.pgrad = width("pgrad");
             p.pbstash = width("pbstash");
             p.vectors = width("vectors");
             p.prologue = tape_of("prologue");
             p.loop = tape_of("loop");
             p.loop_back = tape_of("loop_back");
             p.prologue_back = tape_of("prologue_back");
             for (const auto& s : sources) p.sources.push_back({s.first, s.second});
             each_row(matrices, "matrices", 6,
                      [&](const int32_t* v) { p.matrices.push_back({v[0], v[1], v[2], v[3], v[4], v[5]}); });
             each_row(vectors, "vectors", 4,
                      [&](const int32_t* v) { p.vector_parts.push_back({v[0], v[1], v[2], v[3]}); });
             for (const auto& c : constants) p.constants.push_back({c.first, c.second});
             each_row(outers, "outers", 7,
                      [&](const int32_t* v) { p.outers.push_back({place(v), place(v + 3), v[6]}); });
             each_row(sums, "sums", 9,
                      [&](const int32_t* v) { p.sums.push_back({place(v), v[3], v[4], v[5], place(v + 6)}); });
             p.check();
             new (program) Program(std::move(p));
           },
           nb::arg("state_widths"), nb::arg("widths"), nb::arg("sources"), nb::arg("tapes"), nb::arg("matrices"),
           nb::arg("vectors"), nb::arg("constants"), nb::arg("outers"), nb::arg("sums"));

  bind_snapshot(m);

  nb::class_<Call>(m, "Call")
      .def(nb::init<const nb::list&, bool, int, bool>(), nb::arg("directions"), nb::arg("training"),
           nb::arg("form") = (int)FLOAT32, nb::arg("stacked") = false)
      .def("forward", &Call::forward, nb::arg("values"), nb::arg("offsets").none(), nb::arg("index").none(),
           nb::arg("tensors"), nb::arg("lend"), nb::arg("threads"))
      .def("backward", &Call::backward, nb::arg("values"), nb::arg("offsets").none(), nb::arg("index").none(),
           nb::arg("output"), nb::arg("kept"), nb::arg("tensors"), nb::arg("dy").none(), nb::arg("d_finals"),
           nb::arg("needs"), nb::arg("lend"), nb::arg("threads"));
  nb::class_<PythonStep>(m, "Step").def(nb::init<const Call&>()).def("run", &PythonStep::run);
  nb::class_<Projected>(m, "Projected");
  nb::class_<FrozenCall>(m, "Frozen")
      .def(nb::init<const Call&, nb::handle, int, int>(), nb::arg("call"), nb::arg("sources"), nb::arg("form"),
           nb::arg("threads"))
      .def("project", &FrozenCall::project, nb::arg("values"), nb::arg("threads"))
      .def("forward", &FrozenCall::forward, nb::arg("values"), nb::arg("offsets").none(), nb::arg("index").none(),
           nb::arg("states"), nb::arg("projected").none(), nb::arg("threads"))
      .def("step", &FrozenCall::step);
  nb::class_<ChainCall>(m, "Chain")
      .def(nb::init<const nb::list&, int32_t, int32_t, int32_t, std::pair<int32_t, int32_t>, int32_t, bool>(), nb::arg("links"),
           nb::arg("input"), nb::arg("width"), nb::arg("beside"), nb::arg("output"), nb::arg("output_width"),
           nb::arg("every"))
      .def("run", &ChainCall::run, nb::arg("rows"), nb::arg("steps"), nb::arg("slots"), nb::arg("offsets"), nb::arg("x"),
           nb::arg("index").none(), nb::arg("out"), nb::arg("threads"));

  m.def("gradients_wanted", &gradients_wanted, nb::arg("values"), nb::arg("tensors"));
  m.def("check_offset_numbers", [](const std::vector<int64_t>& offsets, int64_t tokens) {
    check_offsets(offsets.data(), (int64_t)offsets.size(), tokens);
  });
  m.def("check_offsets", [](nb::handle offsets, int64_t tokens) {
    const Array ends = open_ints(offsets, {"the offsets"});
    check_offsets(ends.ints(), ends.columns, tokens);
  });
  // The number of places.
  m.def("check_index", [](nb::handle index, int64_t rows) {
    const Array places = open_ints(index, {"the index"});
    check_index(places.ints(), places.columns, rows);
    return places.columns;
  });

  m.def("move_rows", &move_rows, nb::arg("values"), nb::arg("block"), nb::arg("offsets"), nb::arg("starts"), nb::arg("at"),
        nb::arg("fill").none(), nb::arg("threads"));

  m.def("split_words", &split_words, nb::arg("texts"), nb::arg("lower"));

  m.def("peak_rows", &peak_rows, nb::arg("values"), nb::arg("offsets"), nb::arg("places"), nb::arg("threads"));

  // gradient (n, width) of the rows (n); decays (2, n).
  m.def("adam_step", [](nb::handle table, nb::handle mean, nb::handle square, nb::handle rows, nb::handle gradient,
                        nb::handle decays, double beta1, double beta2, double eps, double rate, double kept) {
    Array values;
    const AdamRows where = adam_rows(table, mean, square, rows, values);
    kernels().adam_step(where, {open_block(gradient, {"the gradient"}, shape(where.count, where.width), values.type).data,
                                open_block(decays, {"the decays"}, shape(2, where.count), Type::FLOAT64).doubles(), beta1,
                                beta2, eps, rate, kept});
  }, nb::arg("table"), nb::arg("mean"), nb::arg("square"), nb::arg("rows"), nb::arg("gradient"), nb::arg("decays"),
     nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("rate"), nb::arg("kept"));
  // coefficients (4, n) for the rows (n); last (V): the step of each row's value.
  m.def("adam_catch_up", [](nb::handle table, nb::handle mean, nb::handle square, nb::handle rows, nb::handle coefficients,
                            nb::handle last, int64_t step, double rate) {
    Array values;
    const AdamRows where = adam_rows(table, mean, square, rows, values);
    kernels().adam_catch_up(where, {open_block(coefficients, {"the coefficients"}, shape(4, where.count), Type::FLOAT64).doubles(),
                                    open_block(last, {"the last steps"}, {values.rows}, Type::INT64).ints(), step, rate});
  }, nb::arg("table"), nb::arg("mean"), nb::arg("square"), nb::arg("rows"), nb::arg("coefficients"), nb::arg("last"),
     nb::arg("step"), nb::arg("rate"));

  // mask (n); state: the bytes of torch.get_rng_state() as int64.
  m.def("keep_mask", [](nb::handle state, nb::handle mask, int64_t count, double keep, double value) {
    int64_t* words = open_block(state, {"the generator's state"}, Shape{GENERATOR_WORDS}, Type::INT64).ints();
    const int64_t left = (int64_t)(uint32_t)words[1], place = words[2];
    if (left < 1 || left > Twister::N || place < 0 || place + left - 1 > Twister::N)
      refuse(Error::DATA, "The state must be one of torch's CPU generator.");
    if (!(keep >= 0 && keep <= 1)) refuse(Error::DATA, "The share that is kept must be from 0 to 1.");
    kernels().keep_mask(reinterpret_cast<uint64_t*>(words), keep, (float)value,
                        open_block(mask, {"the mask"}, Shape{count}).floats(), count);
  }, nb::arg("state"), nb::arg("mask"), nb::arg("count"), nb::arg("keep"), nb::arg("value"));

#ifdef UNSPOOL_PLANT
  m.def("plant", &plant);
#endif
  m.def("isa", [] { return std::string(kernels().name); });
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const char* n : {"portable", "avx2", "avx512", "avx512_bf16", "amx_bf16", "neon"})
      if (const Kernels* k = kernels_named(n); k && (names.empty() || names.back() != k->name)) names.push_back(k->name);
    return names;
  });
  m.def("threads_of", [] { return std::string(threads_of()); });
  m.def("waits_how", [] { return std::string(waits_how()); });
  m.def("lanes", [] { return kernels().lanes; });
  m.def("peak_flops", [](double seconds, int threads, int form) {
    if (!(seconds >= 0 && seconds <= 3600))
      throw std::invalid_argument("seconds must be in [0, 3600]. Got " + std::to_string(seconds) + ".");
    if (form != FLOAT32 && form != BFLOAT16) throw std::invalid_argument("form must be that of float32 or bfloat16.");
    std::vector<double> each(checked_threads(threads));
    nb::gil_scoped_release release;
    parallel(threads, threads, [&](int i) { each[i] = kernels().peak(seconds, (Form)form); });
    double sum = 0;
    for (double v : each) sum += v;
    return sum;
  }, nb::arg("seconds"), nb::arg("threads"), nb::arg("form") = (int)FLOAT32);

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
