// What the tapes of a call read: matrices laid out as products read them, vectors added up.
#pragma once
#include <algorithm>
#include <cstring>
#include <span>

#include "pool.h"
#include "program.h"

namespace unspool {

inline View view_of(const MatrixSpec& m, const Parameter& p) {
  const float* origin = p.data + m.row * p.row_stride + m.column * p.column_stride;
  return m.transposed ? View{origin, p.column_stride, p.row_stride, m.inner, m.width}
                      : View{origin, p.row_stride, p.column_stride, m.inner, m.width};
}

inline void used_matrices(const Tape& tape, std::vector<char>& used) {
  for (const Instr& i : tape.code)
    if (i.op == Op::matmul_) used[i.matrix] = 1;
}

inline void add_up_vectors(const Stream& stream, float* vectors) {
  const Program& p = *stream.program;
  std::memset(vectors, 0, p.vectors * sizeof(float));
  for (const VectorSpec& v : p.vector_parts) {
    const Parameter& s = stream.parameters[v.source];
    float* to = vectors + v.offset;
    const float* from = s.data + v.first * s.column_stride;
    if (s.column_stride == 1)
      for (int32_t i = 0; i < v.width; i++) to[i] += from[i];
    else
      for (int32_t i = 0; i < v.width; i++) to[i] += from[i * s.column_stride];
  }
  for (const ConstantSpec& c : p.constants) vectors[c.offset] = c.value;
}

using Phases = std::vector<Phase>;

// What `tapes` read, in `space`: the vectors, and the matrices, which the phase that is added packs.
inline std::vector<Prepared> prepare(Workspace& space, int threads, std::span<const Stream> streams,
                                     const std::vector<Tape Program::*>& tapes, Phases& phases, Form form = FLOAT32) {
  const Kernels& k = kernels();
  std::vector<Prepared> out(streams.size());
  struct Job {
    Factor factor;
    int first, last;
  };
  std::vector<Job> jobs;
  int64_t elements = 0;
  for (size_t d = 0; d < streams.size(); d++) {
    const Program& p = *streams[d].program;
    out[d].matrices.resize(p.matrices.size());
    std::vector<char> used(p.matrices.size(), 0);
    for (auto tape : tapes) used_matrices(p.*tape, used);
    for (size_t m = 0; m < p.matrices.size(); m++) {
      if (!used[m]) continue;
      Factor& factor = out[d].matrices[m];
      const View& view = factor.view = view_of(p.matrices[m], streams[d].parameters[p.matrices[m].source]);
      const int panels = k.panels(view.width);
      factor.form = k.of(form);
      factor.packed = space.floats(k.packed_size(groups(view.inner, factor.form), view.width));
      if (form == INT8) {
        factor.scales = space.floats(panels * 2 * k.lanes);
        factor.sums = (int32_t*)space.floats(panels * 2 * k.lanes);
      }
      elements += (int64_t)view.inner * view.width;
      for (int first = 0; first < panels; first += 4) jobs.push_back({factor, first, std::min(first + 4, panels)});
    }
    int64_t zeros = p.input;
    for (int32_t w : p.state_widths) zeros = std::max<int64_t>(zeros, w);
    out[d].zeros = space.floats(zeros);
    std::memset(out[d].zeros, 0, zeros * sizeof(float));
    out[d].vectors = space.floats(p.vectors);
    add_up_vectors(streams[d], out[d].vectors);
  }
  const int count = (int)jobs.size();
  phases.push_back({count, elements > 20000 ? threads : 1, [&k, jobs = std::move(jobs)](int j) {
                      k.pack(jobs[j].factor, jobs[j].first, jobs[j].last);
                    }});
  return out;
}

}  // namespace unspool
