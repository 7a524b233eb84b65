// What the scheduler and the kernels of every instruction set share: operations, tapes, tiles of rows.
#pragma once
#include <cstdint>
#include <vector>

#include "adam.h"
#include "team.h"

namespace unspool {

// name, number of operands. The order is the opcode; Python reads this table from the module.
#define UNSPOOL_OPS(X)                                                                                     \
  X(matmul, 2) X(copy, 1) X(add, 2) X(sub, 2) X(mul, 2) X(div, 2) X(max, 2) X(min, 2)                      \
  X(gt, 2) X(ge, 2) X(lt, 2) X(le, 2) X(eq, 2) X(ne, 2) X(where, 3) X(fma, 3)                              \
  X(neg, 1) X(abs, 1) X(exp, 1) X(expm1, 1) X(log, 1) X(tanh, 1) X(sigmoid, 1) X(sqrt, 1) X(rsqrt, 1)      \
  X(relu, 1) X(softplus, 1) X(erf, 1) X(dtanh, 2) X(dsigmoid, 2) X(sum, 1) X(mean, 1) X(amax, 1) X(dot, 2)   \
  X(rstd, 3) X(norm, 3) X(take, 1) X(put, 1) X(gmax, 1) X(contract, 2)                                     \
  X(log1p, 1) X(exp2, 1) X(log2, 1) X(log10, 1) X(erfc, 1) X(sin, 1) X(cos, 1) X(tan, 1)                   \
  X(asin, 1) X(acos, 1) X(atan, 1) X(sinh, 1) X(cosh, 1) X(asinh, 1) X(acosh, 1) X(atanh, 1)               \
  X(floor, 1) X(ceil, 1) X(round, 1) X(trunc, 1) X(sign, 1) X(stop, 1)                                     \
  X(pow, 2) X(atan2, 2) X(hypot, 2) X(fmod, 2) X(remainder, 2) X(logaddexp, 2) X(xlogy, 2) X(clamp, 3)    \
  X(order, 1) X(pick, 2) X(drop, 2)

enum class Op : int32_t {
#define UNSPOOL_ENUM(name, arity) name##_,
  UNSPOOL_OPS(UNSPOOL_ENUM)
#undef UNSPOOL_ENUM
};

// Where a row of a tile lives. One pointer a row and buffer; an operand adds a column offset.
enum Buffer : int32_t {
  SCRATCH, VEC, X, PRO, PSTASH, LSTASH, BSTASH, PGRAD, PBSTASH, DY, DX,
  STATE_IN, STATE_OUT = STATE_IN + 8, ADJ_IN = STATE_OUT + 8, ADJ_OUT = ADJ_IN + 8,
  BUFFERS = ADJ_OUT + 8
};
constexpr int MAX_STATES = 8;
constexpr int MAX_ROWS = 36;
constexpr int TILED_ROWS = 32;   // of a tile whose products are TILED: two of AMX's, which share what they read of a matrix
constexpr int MAX_AXES = 8;

struct Operand {
  int32_t buffer = -1;     // -1: none
  int32_t offset = 0;
  int32_t broadcast = 0;   // 1: one number a row
};

struct Instr {
  Op op;
  int32_t width;           // columns of the result (of the operand, for those that give one number a row)
  int32_t inner;           // matmul: columns of the source
  int32_t matrix;          // matmul: which packed matrix
  Operand out, a, b, c;
  std::vector<int32_t> pattern;   // of rows seen as several axes (axes.h)
};

struct Tape {
  std::vector<Instr> code;
  int64_t scratch = 0;     // floats a row
};

struct Tile {
  float* row[BUFFERS][MAX_ROWS];
  int rows;
};

struct View {
  const float* data;
  int64_t inner_stride, width_stride;
  int32_t inner, width;
};

// The numbers of a packed matrix: 1, 2 or 4 of a column lie in the 32 bits of a group. Products of BFLOAT16 round the
// rows alike; those of INT8 bring each row to -127 ... 127 by its largest number, as each column of the matrix once.
// TILED is BFLOAT16 as AMX's tiles take it, 16 groups at a time; the table of kernels says whether it does.
enum Form : int32_t { FLOAT32, BFLOAT16, INT8, TILED };
inline int32_t groups(int32_t inner, Form form) {
  if (form == TILED) return (inner + 31) / 32 * 16;
  const int32_t size = form == FLOAT32 ? 1 : form == BFLOAT16 ? 2 : 4;
  return (inner + size - 1) / size;
}

// A matrix as a product takes it: packed, or, for a few rows, in place. Packed: column panels of 2 vectors, panel after
// panel, each (groups, 2 W); the last one is 1 vector wide where that is enough; columns past the end are zero.
struct Factor {
  float* packed = nullptr;
  View view{};
  Form form = FLOAT32;
  float* scales = nullptr;     // INT8: of each column
  int32_t* sums = nullptr;     // INT8: of each column, times 128
};

// Whether a matrix is larger than what a second cache of 1 to 2 MB keeps from step to step: each step reads it anew.
inline bool is_far(const Factor& m) { return groups(m.view.inner, m.form) * (int64_t)m.view.width > 1 << 18; }

// Sums over tokens of what rows `a` hold, alone or times other rows. Those that read the same rows go together: a
// block of tokens comes from memory once.
struct Outer {               // c (m, n) += sum over t of a[t][a_offset ...] (m) outer b[t][b_offset ...] (n)
  const float* const* b;
  int32_t a_offset, m, b_offset, n;
  float* c;
  int64_t c_stride;          // floats between rows of c
};
struct ColumnSum {           // out (width) += sum over t of a[t][a_offset ...], or of that times b[t][b_offset ...]
  int32_t a_offset, width;
  float* out;
  const float* const* b;     // null: none
  int32_t b_offset;
};
struct Sums {
  const float* const* a;
  int64_t tokens;
  bool spread;               // rows of a lie an odd number of cache lines apart: they share a cache without a copy
  Form form;                 // BFLOAT16 or TILED: what is multiplied is rounded, sums are not; else FLOAT32
  std::vector<Outer> products;
  std::vector<ColumnSum> columns;
};

struct Kernels {
  const char* name;
  int lanes;               // floats in a vector
  int tile_rows;           // rows whose sums a product keeps in registers: a tile has as many, or up to MAX_ROWS
  void (*run)(const Tape&, const Tile&, const Factor* matrices, Member*);   // of a team, or null
  int64_t (*packed_size)(int32_t groups, int32_t width);
  int32_t (*panels)(int32_t width);
  void (*pack)(const Factor&, int32_t first_panel, int32_t last_panel);   // its view
  int64_t (*sums_workspace)(const Sums&);
  void (*sums)(const Sums&, int32_t first, int32_t last, float* workspace);   // of columns first ... last of a
  void (*keep_mask)(uint64_t*, double, float, float*, int64_t);
  void (*peaks)(const float* rows, int64_t stride, int64_t count, int64_t width, int64_t first, int64_t* out);
  void (*adam_step)(const AdamRows&, const AdamStep&);
  void (*adam_catch_up)(const AdamRows&, const AdamGap&);
  double (*peak)(double seconds, Form);   // FLOAT32 or BFLOAT16
  Form bfloat16 = BFLOAT16;               // how BFLOAT16 is multiplied: so, or TILED
  Form of(Form form) const { return form == BFLOAT16 ? bfloat16 : form; }
};

const Kernels& kernels();                     // the one chosen at start, or by UNSPOOL_ISA
const Kernels* kernels_named(const char* name);

}  // namespace unspool
