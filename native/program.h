// A traced cell, ready to run: four tapes, what they read, and where gradients go.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "abi.h"
#include "workspace.h"

namespace unspool {

struct MatrixSpec {          // a block of a parameter, as (inner, width)
  int32_t source, row, column, inner, width, transposed;
};
struct VectorSpec {          // values[offset, offset + width) += parameter[first, first + width)
  int32_t offset, source, first, width;
};
struct ConstantSpec {
  int32_t offset;
  float value;
};
struct Place {
  int32_t prologue;          // 1: a row a prologue row, 0: a row a token
  int32_t buffer, offset;
};
struct OuterSpec {           // d(matrix) += source^T gradient, over all rows
  Place source, gradient;
  int32_t matrix;
};
struct SumSpec {             // d(parameter)[first, first + width) += sum of gradient, or gradient times factor, over all rows
  Place gradient;
  int32_t width, source, first;
  Place factor;              // buffer -1: none
};

struct Source {              // a parameter, or what is computed from some
  std::string name;
  std::vector<int64_t> shape;
};

struct Program {
  std::vector<int32_t> state_widths;
  int32_t input = 0, pro = 0, pstash = 0, lstash = 0, bstash = 0, pgrad = 0, pbstash = 0, vectors = 0;  // floats a row
  Tape prologue, loop, loop_back, prologue_back;
  std::vector<Source> sources;
  std::vector<MatrixSpec> matrices;
  std::vector<VectorSpec> vector_parts;
  std::vector<ConstantSpec> constants;
  std::vector<OuterSpec> outers;
  std::vector<SumSpec> sums;

  // Throws std::invalid_argument where an instruction or a sum lies outside what the program says it has; then fills in:
  void check();
  std::vector<int32_t> reads;   // sources
  bool writes_dx = false;
};

struct Parameter {
  const float* data;
  int64_t row_stride, column_stride;
  float* gradient;           // contiguous (rows, columns); null: not wanted
  int64_t gradient_stride;
};

// One direction of a call. Row n of a per-token buffer belongs to row n of the values.
struct Stream {
  const Program* program = nullptr;
  bool reverse = false;
  std::vector<Parameter> parameters;
  struct State {
    float* rows = nullptr;           // (tokens, ...): every step's value; null: only the last is kept
    int64_t stride = 0;
    const float* initial = nullptr;  // (B, width); null: zeros
    float* final = nullptr;          // (B, width)
    const float* d_final = nullptr;  // (B, width); null: zeros
    float* d_initial = nullptr;      // (B, width); null: not wanted
  };
  std::array<State, MAX_STATES> states;
  float *pstash = nullptr, *lstash = nullptr, *bstash = nullptr, *pgrad = nullptr, *pbstash = nullptr;
  const float* dy = nullptr;         // gradient of the output's rows; null: zeros
  int64_t dy_stride = 0;
  float* dx = nullptr;               // (input rows, F); null: not wanted
};

struct Batch {
  int64_t sequences = 0, tokens = 0;
  const int64_t* offsets = nullptr;  // (B + 1)
  const float* x = nullptr;          // (input rows, F)
  int64_t x_stride = 0, input_rows = 0;
  const int64_t* index = nullptr;    // (tokens): input row of each token; null: its own
  int threads = 1;
  Form form = FLOAT32;               // of what products multiply: FLOAT32 or BFLOAT16
};

void run_forward(const Batch&, std::vector<Stream>&);
void run_backward(const Batch&, std::vector<Stream>&);

// A matrix of each product as it is read, and a row of vectors: of the tapes of one stream.
struct Prepared {
  std::vector<Factor> matrices;
  float* vectors;
  float* zeros;
};

// From the states' initial rows to their final ones, on weights as they are.
void run_step(int64_t rows, const float* x, int threads, const Stream&);

// Streams for prediction alone, whose weights were laid out once. Nothing changes in it: threads may share it.
class Frozen {
 public:
  Frozen(const std::vector<Stream>&, Form, int threads);
  // What the prologues make of the batch's input rows, in `space`, by the streams.
  std::vector<float*> project(const Batch&, const std::vector<Stream>&, Workspace& space) const;
  // tables: of `project`, which the batch's index then is into; none: made of the batch's input.
  void forward(const Batch&, const std::vector<Stream>&, const std::vector<float*>& tables) const;
  void step(int64_t rows, const float* x, int threads, const Stream&) const;
  const Prepared& ready(size_t stream) const { return ready_.at(stream); }

 private:
  Workspace space_;
  std::vector<Prepared> ready_;
};

}  // namespace unspool
