// The door: the one place where tensors of Python become addresses. What passes has the dtype, device, shape and strides
// that were asked for, and lies within its storage; anything else raises an error that names it.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

namespace unspool {

namespace nb = nanobind;

enum class Type { FLOAT32, FLOAT64, INT64 };

// Numbers in memory, seen as a matrix: (1, 1) for no axis, (1, n) for one; further axes in front must be 1.
struct Array {
  void* data = nullptr;
  int64_t axes = 0, rows = 1, columns = 1, row_stride = 0, column_stride = 1;
  Type type = Type::FLOAT32;

  float* floats() const { return static_cast<float*>(data); }
  double* doubles() const { return static_cast<double*>(data); }
  int64_t* ints() const { return static_cast<int64_t*>(data); }
  bool contiguous() const {
    return rows == 0 || columns == 0 || ((columns == 1 || column_stride == 1) && (rows == 1 || row_stride == columns));
  }
};

// Rows (n, ...) of any dtype as bytes: `width` of them side by side in each, the rows `stride` bytes apart.
struct Bytes {
  char* data = nullptr;
  int64_t rows = 0, width = 0, stride = 0, item = 0;
  int32_t dtype = 0;   // torch's number of it
};

using Shape = std::vector<int64_t>;

// What a message calls a tensor: "state part 1", "weight 'weight_ih'". The text is made only where there is an error.
struct Name {
  const char* what;
  int64_t number = -1;
  const char* quoted = nullptr;
  std::string text() const;
};

enum class Error { ENGINE, DATA, INDEX };   // EngineError, DataError of unspool.errors; IndexError
[[noreturn]] void refuse(Error, const std::string& message);

// The tensor's memory; its type is `type`, its shape any of up to two axes that are not 1 in front.
Array open(nb::handle tensor, const Name&, Type type = Type::FLOAT32);
// The same of float32 or float64.
Array open_real(nb::handle tensor, const Name&);

// The same, of this shape.
Array open_shaped(nb::handle tensor, const Name&, const Shape&, Type type = Type::FLOAT32);
// And contiguous.
Array open_block(nb::handle tensor, const Name&, const Shape&, Type type = Type::FLOAT32);

// What a call holds for as long as it runs: copies of tensors whose numbers do not lie as it needs them.
using Held = std::vector<nb::object>;

// Rows (N, F), or (B, T, F) seen as (B T, F), the numbers of each side by side; else of a copy.
struct Rows {
  float* data = nullptr;
  int64_t count = 0, stride = 0;
  int64_t sequences = -1, steps = 0;   // B and T; -1: of (N, F)
};
Rows open_rows(nb::handle tensor, const Name&, int64_t columns, Held&);

// The numbers of a float32 tensor of this shape, one by one; else of a copy.
float* open_dense(nb::handle tensor, const Name&, const Shape&, Held&);

// A new float32 tensor on the CPU, its numbers not set. lend: a large one in memory that goes from call to call.
nb::object make(const Shape&, bool lend, float*& data);

// Whether gradients are wanted: 2 of `values`, 1 of some of `tensors` alone, 0 of none; -1: not all are exactly tensors
// or parameters, or, among `tensors`, None.
int gradients_wanted(nb::handle values, nb::handle tensors);

// Of rows (n, ...) of any of torch's plain dtypes, each contiguous.
Bytes open_bytes(nb::handle tensor, const Name&);

// Of a list or tuple: its items, borrowed.
class Items {
 public:
  Items(nb::handle sequence, const char* what);
  Items(nb::handle sequence, const char* what, size_t count);   // ValueError for another number of items
  size_t size() const { return count_; }
  nb::handle operator[](size_t i) const { return items_[i]; }

 private:
  PyObject** items_;
  size_t count_;
};

}  // namespace unspool
