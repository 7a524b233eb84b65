// torch's side is read without its headers: `tensor._cdata` is the address of the tensor's implementation, and the
// `aoti_torch_*` functions of torch/csrc/inductor/aoti_torch/c/shim.h, which torch keeps as they are from version to
// version, tell what it is. They take a pointer to an at::Tensor, which is one such address.
#include "door.h"

#include <dlfcn.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cctype>

namespace unspool {
namespace {

using Handle = void* const*;
struct Torch {
  int32_t (*dtype)(Handle, int32_t*);
  int32_t (*device)(Handle, int32_t*);
  int32_t (*dim)(Handle, int64_t*);
  int32_t (*sizes)(Handle, int64_t**);
  int32_t (*strides)(Handle, int64_t**);
  int32_t (*offset)(Handle, int64_t*);
  int32_t (*storage_size)(Handle, int64_t*);
  int32_t (*data)(Handle, void**);
  int32_t float32, float64, int64, cpu;
  std::vector<std::pair<int32_t, int64_t>> sizes_of;   // bytes of a number of each dtype
  PyObject *tensor, *parameter, *plain_dispatch;   // classes; what __torch_dispatch__ is where there is none
  PyObject *cdata, *is_neg, *is_conj, *requires_grad;   // names
};

Torch* torch_ = nullptr;   // made once, under the interpreter's lock

void load() {
  nb::module_ torch = nb::module_::import_("torch");
  const auto folder = nb::cast<std::string>(nb::module_::import_("os.path").attr("dirname")(torch.attr("__file__")));
#ifdef __APPLE__
  const std::string path = folder + "/lib/libtorch_cpu.dylib";
#else
  const std::string path = folder + "/lib/libtorch_cpu.so";
#endif
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  const auto find = [&](const char* name) {
    void* found = library ? dlsym(library, (std::string("aoti_torch_") + name).c_str()) : nullptr;
    if (!found)
      throw nb::import_error(("unspool needs torch 2.4 or newer: there is no aoti_torch_" + std::string(name) + " in " + path +
                              ".").c_str());
    return found;
  };
  auto* t = new Torch{};
  t->dtype = (decltype(t->dtype))find("get_dtype");
  t->device = (decltype(t->device))find("get_device_type");
  t->dim = (decltype(t->dim))find("get_dim");
  t->sizes = (decltype(t->sizes))find("get_sizes");
  t->strides = (decltype(t->strides))find("get_strides");
  t->offset = (decltype(t->offset))find("get_storage_offset");
  t->storage_size = (decltype(t->storage_size))find("get_storage_size");
  t->data = (decltype(t->data))find("get_data_ptr");
  const auto number = [&](const char* name) { return ((int32_t (*)())find(name))(); };
  t->float32 = number("dtype_float32");
  t->float64 = number("dtype_float64");
  t->int64 = number("dtype_int64");
  t->cpu = number("device_type_cpu");
  t->tensor = torch.attr("Tensor").inc_ref().ptr();
  t->parameter = torch.attr("nn").attr("Parameter").inc_ref().ptr();
  t->plain_dispatch = torch.attr("_C").attr("_disabled_torch_dispatch_impl").inc_ref().ptr();
  t->cdata = PyUnicode_InternFromString("_cdata");
  t->is_neg = PyUnicode_InternFromString("is_neg");
  t->is_conj = PyUnicode_InternFromString("is_conj");
  t->requires_grad = PyUnicode_InternFromString("requires_grad");
  for (auto [name, size] : {std::pair{"dtype_bool", 1}, {"dtype_uint8", 1}, {"dtype_int8", 1}, {"dtype_int16", 2},
                            {"dtype_int32", 4}, {"dtype_int64", 8}, {"dtype_float16", 2}, {"dtype_bfloat16", 2},
                            {"dtype_float32", 4}, {"dtype_float64", 8}, {"dtype_complex64", 8}, {"dtype_complex128", 16}})
    t->sizes_of.push_back({number(name), size});
  torch_ = t;
}

std::string described(nb::handle tensor, const char* attribute) {
  const nb::object value = tensor.attr(attribute);
  return nb::str(nb::handle(value)).c_str();
}

std::string shape_text(const int64_t* sizes, int64_t axes) {
  std::string text = "(";
  for (int64_t i = 0; i < axes; i++) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + (axes == 1 ? ",)" : ")");
}

const char* type_text(Type type) {
  return type == Type::FLOAT32 ? "torch.float32" : type == Type::FLOAT64 ? "torch.float64" : "torch.int64";
}

// A tensor's own sizes and strides, once it has been found to be what it seems.
struct Seen {
  Array array;
  const int64_t *sizes, *strides;
};

void check_class(nb::handle tensor, const Name& name) {
  PyObject* type = (PyObject*)Py_TYPE(tensor.ptr());
  if (type == torch_->tensor || type == torch_->parameter) return;
  if (!PyObject_IsInstance(tensor.ptr(), torch_->tensor))
    throw nb::type_error((name.text() + " must be a tensor. Got " + Py_TYPE(tensor.ptr())->tp_name + ".").c_str());
  if (nb::handle(type).attr("__torch_dispatch__").ptr() != torch_->plain_dispatch)
    refuse(Error::ENGINE, name.text() + " must be a plain tensor for the native engine. Got a " +
                              Py_TYPE(tensor.ptr())->tp_name + ", which has no numbers in memory of its own. "
                              "Use engine='eager'.");
}

[[noreturn]] void refuse_type(nb::handle tensor, const Name& name, const std::string& type) {
  refuse(Error::ENGINE, name.text() + " must be " + type + " on the CPU. Got " + described(tensor, "dtype") + " on " +
                            described(tensor, "device") + ". Convert it, or use engine='eager' with one dtype throughout.");
}

[[noreturn]] void refuse_memory(nb::handle tensor, const Name& name, const std::string& why) {
  refuse(Error::ENGINE, name.text() + " must be a dense tensor with memory of its own. Got one of layout " +
                            described(tensor, "layout") + " " + why + ". Make a copy of its numbers, or use engine='eager'.");
}

// torch's own of a tensor that is one.
void* implementation_of(nb::handle tensor, const Name& name) {
  if (!torch_) load();
  check_class(tensor, name);
  PyObject* number = PyObject_GetAttr(tensor.ptr(), torch_->cdata);
  if (!number) throw nb::python_error();
  void* implementation = PyLong_AsVoidPtr(number);
  Py_DECREF(number);
  if (!implementation && PyErr_Occurred()) throw nb::python_error();
  return implementation;
}

struct Memory {
  void* data;
  int64_t axes, *sizes, *strides, offset, bytes;
};

Memory memory_of(Handle h, nb::handle tensor, const Name& name) {
  const Torch& t = *torch_;
  Memory m{};
  if (t.dim(h, &m.axes) || t.sizes(h, &m.sizes) || t.strides(h, &m.strides) || t.offset(h, &m.offset) ||
      t.storage_size(h, &m.bytes) || t.data(h, &m.data))
    refuse_memory(tensor, name, "without an address");
  return m;
}

void check_applied(nb::handle tensor, const Name& name, PyObject* asked, const char* why) {
  PyObject* self = tensor.ptr();
  PyObject* answer = PyObject_VectorcallMethod(asked, &self, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  if (!answer) throw nb::python_error();
  const bool lazy = answer == Py_True;
  Py_DECREF(answer);
  if (lazy) refuse_memory(tensor, name, why);
}

void check_sign(nb::handle tensor, const Name& name) {
  check_applied(tensor, name, torch_->is_neg, "whose sign is not in memory yet (resolve_neg)");
}

void check_storage(const Memory& m, const Name& name, int64_t item) {
  bool empty = false;
  __int128 last = m.offset;
  for (int64_t i = 0; i < m.axes; i++) {
    empty |= m.sizes[i] == 0;
    last += (__int128)(m.sizes[i] - 1) * m.strides[i];
  }
  if (!empty && (!m.data || (last + 1) * item > m.bytes))
    refuse(Error::ENGINE, name.text() + " of shape " + shape_text(m.sizes, m.axes) + " must lie within its storage. Got one of " +
                              std::to_string(m.bytes) + " bytes: the storage was resized after the tensor was made.");
}

// The memory of a tensor of `wanted`, or of any real type. sign: whether its numbers may have a lazy one.
Memory look(nb::handle tensor, const Name& name, bool real, Type wanted, bool sign, Type& type) {
  void* implementation = implementation_of(tensor, name);
  Handle h = &implementation;
  const Torch& t = *torch_;

  int32_t dtype, device;
  if (t.dtype(h, &dtype) || t.device(h, &device)) refuse_memory(tensor, name, "that torch cannot describe");
  type = dtype == t.float32 ? Type::FLOAT32 : dtype == t.float64 ? Type::FLOAT64 : Type::INT64;
  const bool known = dtype == t.float32 || dtype == t.float64 || dtype == t.int64;
  const bool right = real ? type != Type::INT64 : type == wanted;
  if (!known || !right || device != t.cpu)
    refuse_type(tensor, name, real ? "torch.float32 or torch.float64" : type_text(wanted));

  // Whole numbers have no lazy sign. Asking lets other threads run: before an address is taken.
  if (sign && (real || wanted != Type::INT64)) check_sign(tensor, name);
  const Memory m = memory_of(h, tensor, name);
  check_storage(m, name, type == Type::FLOAT32 ? 4 : 8);
  return m;
}

Seen see(nb::handle tensor, const Name& name, bool real, Type wanted) {
  Seen seen{};
  Array& a = seen.array;
  const Memory m = look(tensor, name, real, wanted, true, a.type);
  a.data = m.data;
  a.axes = m.axes;
  seen.sizes = m.sizes;
  seen.strides = m.strides;
  for (int64_t i = 0; i + 2 < a.axes; i++)
    if (m.sizes[i] != 1)
      refuse(Error::ENGINE, name.text() + " must have at most two axes that are not 1. Got shape " +
                                shape_text(m.sizes, m.axes) + ".");
  if (a.axes >= 1) {
    a.columns = m.sizes[a.axes - 1];
    a.column_stride = m.strides[a.axes - 1];
  }
  if (a.axes >= 2) {
    a.rows = m.sizes[a.axes - 2];
    a.row_stride = m.strides[a.axes - 2];
  }
  return seen;
}

bool dense(const Memory& m) {
  int64_t expected = 1, numbers = 1;
  for (int64_t i = 0; i < m.axes; i++) numbers *= m.sizes[i];
  for (int64_t i = m.axes - 1; numbers && i >= 0; expected *= m.sizes[i--])
    if (m.sizes[i] != 1 && m.strides[i] != expected) return false;
  return true;
}

nb::handle copied(nb::handle tensor, Held& held) {
  held.push_back(tensor.attr("contiguous")());
  return held.back();
}

// torch's side of `make`: `unspool.engine.memory`, whose names are held for good.
struct Maker {
  PyObject *empty, *lend;
  int64_t large;
};
const Maker& maker() {
  static Maker* found = nullptr;   // made under the interpreter's lock
  if (!found) {
    const nb::object memory = nb::module_::import_("unspool.engine.memory");
    const Maker made{memory.attr("_FLOATS").attr("new_empty").inc_ref().ptr(), memory.attr("lend").inc_ref().ptr(),
                     nb::cast<int64_t>(memory.attr("LARGE"))};
    found = new Maker(made);
  }
  return *found;
}

}  // namespace

std::string Name::text() const {
  std::string text = what;
  text[0] = (char)std::toupper((unsigned char)text[0]);
  if (number >= 0) text += " " + std::to_string(number);
  if (quoted) text += std::string(" '") + quoted + "'";
  return text;
}

void refuse(Error error, const std::string& message) {
  if (error == Error::INDEX) {
    PyErr_SetString(PyExc_IndexError, message.c_str());
  } else {
    const nb::object type = nb::module_::import_("unspool.errors").attr(error == Error::DATA ? "DataError" : "EngineError");
    PyErr_SetString(type.ptr(), message.c_str());
  }
  throw nb::python_error();
}

Array open(nb::handle tensor, const Name& name, Type type) { return see(tensor, name, false, type).array; }

Array open_real(nb::handle tensor, const Name& name) { return see(tensor, name, true, Type::FLOAT32).array; }

Array open_shaped(nb::handle tensor, const Name& name, const Shape& shape, Type type) {
  const Seen seen = see(tensor, name, false, type);
  const auto axes = (int64_t)shape.size();
  if (axes != seen.array.axes || !std::equal(shape.begin(), shape.end(), seen.sizes))
    refuse(Error::ENGINE, name.text() + " must have shape " + shape_text(shape.data(), axes) + ". Got " +
                              shape_text(seen.sizes, seen.array.axes) + ".");
  return seen.array;
}

Array open_block(nb::handle tensor, const Name& name, const Shape& shape, Type type) {
  const Array array = open_shaped(tensor, name, shape, type);
  if (!array.contiguous())
    refuse(Error::ENGINE, name.text() + " must be contiguous. Got strides (" + std::to_string(array.row_stride) + ", " +
                              std::to_string(array.column_stride) + "). Call .contiguous() on it.");
  return array;
}

Rows open_rows(nb::handle tensor, const Name& name, int64_t columns, Held& held) {
  Type type;
  const Memory m = look(tensor, name, false, Type::FLOAT32, true, type);
  if ((m.axes != 2 && m.axes != 3) || m.sizes[m.axes - 1] != columns)
    refuse(Error::ENGINE, name.text() + " must have shape (N, " + std::to_string(columns) + ") or (B, T, " +
                              std::to_string(columns) + "). Got " + shape_text(m.sizes, m.axes) + ".");
  Rows rows;
  rows.data = static_cast<float*>(m.data);
  if (m.axes == 3) rows.sequences = m.sizes[0], rows.steps = m.sizes[1];
  rows.count = m.axes == 3 ? m.sizes[0] * m.sizes[1] : m.sizes[0];
  rows.stride = m.axes == 3 && m.sizes[1] == 1 ? m.strides[0] : m.strides[m.axes - 2];
  const bool beside = columns < 2 || m.strides[m.axes - 1] == 1;
  const bool even = m.axes == 2 || m.sizes[0] == 1 || m.sizes[1] == 1 || m.strides[0] == m.strides[1] * m.sizes[1];
  return rows.count == 0 || (beside && even) ? rows : open_rows(copied(tensor, held), name, columns, held);
}

float* open_dense(nb::handle tensor, const Name& name, const Shape& shape, Held& held) {
  Type type;
  const Memory m = look(tensor, name, false, Type::FLOAT32, true, type);
  const auto axes = (int64_t)shape.size();
  if (axes != m.axes || !std::equal(shape.begin(), shape.end(), m.sizes))
    refuse(Error::ENGINE, name.text() + " must have shape " + shape_text(shape.data(), axes) + ". Got " +
                              shape_text(m.sizes, m.axes) + ".");
  return dense(m) ? static_cast<float*>(m.data) : open_dense(copied(tensor, held), name, shape, held);
}

nb::object make(const Shape& shape, bool lend, float*& data) {
  const Maker& torch = maker();
  int64_t numbers = 1;
  nb::object sizes = nb::steal(PyTuple_New((Py_ssize_t)shape.size()));
  for (size_t i = 0; i < shape.size(); i++) {
    numbers *= shape[i];
    PyTuple_SET_ITEM(sizes.ptr(), (Py_ssize_t)i, PyLong_FromLongLong(shape[i]));
  }
  nb::object made = nb::steal(lend && numbers >= torch.large ? PyObject_CallObject(torch.lend, sizes.ptr())
                                                             : PyObject_CallOneArg(torch.empty, sizes.ptr()));
  if (!made.ptr()) throw nb::python_error();
  Type type;
  const Memory m = look(made, {"a new tensor"}, false, Type::FLOAT32, false, type);
  if (m.axes != (int64_t)shape.size() || !std::equal(shape.begin(), shape.end(), m.sizes) || !dense(m))
    refuse(Error::ENGINE, "A new tensor must have shape " + shape_text(shape.data(), (int64_t)shape.size()) + ". Got " +
                              shape_text(m.sizes, m.axes) + ": something changes what torch makes.");
  data = static_cast<float*>(m.data);
  return made;
}

int gradients_wanted(nb::handle values, nb::handle tensors) {
  if (!torch_) load();
  const Items items(tensors, "tensors");
  int found = 0;
  for (size_t i = 0; i <= items.size(); i++) {
    const nb::handle tensor = i ? items[i - 1] : values;
    if (i && tensor.is_none()) continue;
    PyObject* type = (PyObject*)Py_TYPE(tensor.ptr());
    if (type != torch_->tensor && type != torch_->parameter) return -1;
    const nb::object wanted = nb::steal(PyObject_GetAttr(tensor.ptr(), torch_->requires_grad));
    if (!wanted.ptr()) throw nb::python_error();
    if (wanted.is(nb::handle(Py_True))) found = std::max(found, i ? 1 : 2);
  }
  return found;
}

Bytes open_bytes(nb::handle tensor, const Name& name) {
  void* implementation = implementation_of(tensor, name);
  Handle h = &implementation;
  const Torch& t = *torch_;
  Bytes b;
  int32_t device;
  if (t.dtype(h, &b.dtype) || t.device(h, &device)) refuse_memory(tensor, name, "that torch cannot describe");
  for (auto [dtype, size] : t.sizes_of)
    if (dtype == b.dtype) b.item = size;
  if (!b.item || device != t.cpu) refuse_type(tensor, name, "of one of torch's plain dtypes");
  check_sign(tensor, name);
  check_applied(tensor, name, t.is_conj, "whose conjugate is not in memory yet (resolve_conj)");
  const Memory m = memory_of(h, tensor, name);
  check_storage(m, name, b.item);
  b.width = b.item;
  bool beside = m.axes > 0;
  for (int64_t i = m.axes - 1; i > 0; b.width *= m.sizes[i--])
    beside &= m.sizes[i] == 1 || m.strides[i] * b.item == b.width;
  if (!beside && (m.axes == 0 || (m.sizes[0] > 0 && b.width > 0)))
    refuse(Error::ENGINE, name.text() + " must have rows whose numbers lie side by side. Got shape " +
                              shape_text(m.sizes, m.axes) + ". Call .contiguous() on it.");
  b.data = static_cast<char*>(m.data);
  b.rows = m.axes ? m.sizes[0] : 0;
  b.stride = m.axes ? m.strides[0] * b.item : 0;
  return b;
}

Items::Items(nb::handle sequence, const char* what) {
  if (!PyList_Check(sequence.ptr()) && !PyTuple_Check(sequence.ptr()))
    throw nb::type_error((std::string(what) + " must be a list or a tuple. Got " + Py_TYPE(sequence.ptr())->tp_name + ".").c_str());
  items_ = PySequence_Fast_ITEMS(sequence.ptr());
  count_ = (size_t)PySequence_Fast_GET_SIZE(sequence.ptr());
}

Items::Items(nb::handle sequence, const char* what, size_t count) : Items(sequence, what) {
  if (count_ != count)
    throw nb::value_error((std::string(what) + " must be " + std::to_string(count) + ". Got " + std::to_string(count_) + ".").c_str());
}

}  // namespace unspool
