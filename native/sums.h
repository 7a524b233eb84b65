// Sums over all rows: where their operands stand, and who adds what.
#pragma once
#include <algorithm>
#include <functional>
#include <map>

#include "loops.h"
#include "pool.h"

namespace unspool {

using Pointers = std::vector<const float*>;

// The rows of a buffer, one for each token or input row.
inline Pointers rows_of(const Batch& batch, const Stream& s, const Prepared& ready, bool prologue, int buffer,
                        const float* pgrad) {
  const Program& p = *s.program;
  const int64_t n = prologue ? batch.input_rows : batch.tokens;
  Pointers rows(n);
  auto strided = [&](const float* base, int64_t stride) {
    for (int64_t i = 0; i < n; i++) rows[i] = base + i * stride;
  };
  auto of_input = [&](const float* base, int64_t stride) {   // a row an input row, which tokens may share
    if (prologue || !batch.index) return strided(base, stride);
    for (int64_t i = 0; i < n; i++) rows[i] = base + batch.index[i] * stride;
  };
  if (buffer == X) of_input(batch.x, batch.x_stride);
  else if (buffer == PSTASH) of_input(s.pstash, p.pstash);
  else if (buffer == LSTASH) strided(s.lstash, p.lstash);
  else if (buffer == BSTASH) strided(s.bstash, p.bstash);
  else if (buffer == PBSTASH) strided(s.pbstash, p.pbstash);
  else if (buffer == PGRAD) strided(prologue ? pgrad : s.pgrad, p.pgrad);
  else if (buffer >= STATE_OUT && buffer < ADJ_IN) {
    const auto& state = s.states[buffer - STATE_OUT];
    strided(state.rows, state.stride);
  } else {
    const int k = buffer - STATE_IN;
    const Stream::State& state = s.states[k];
    const int64_t step = s.reverse ? -1 : 1;
    for (int64_t b = 0; b < batch.sequences; b++) {
      const int64_t first = s.reverse ? batch.offsets[b + 1] - 1 : batch.offsets[b];
      for (int64_t t = batch.offsets[b]; t < batch.offsets[b + 1]; t++)
        rows[t] = t != first      ? state.rows + (t - step) * state.stride
                  : state.initial ? state.initial + b * p.state_widths[k]
                                  : ready.zeros;
    }
  }
  return rows;
}

// The sums over all rows that make the gradients of a stream's parameters.
class GradientSums {
 public:
  GradientSums(const Batch& batch, const Stream& stream, const Prepared& ready, const float* pgrad)
      : batch_(batch), s_(stream), ready_(ready), pgrad_(pgrad) {
    for (const OuterSpec& o : s_.program->outers) add(o);
    for (const SumSpec& sum : s_.program->sums) add(sum);
  }

  // Jobs over columns of the rows. Where a parameter is the target of several sums, all are one job: they add to
  // the same numbers in a fixed order, so that results do not depend on threads.
  void jobs(int threads, std::vector<std::function<void()>>& out) const {
    if (overlapping()) {
      out.push_back([this] { for (const auto& [key, group] : groups_) work(group, 0, width(group)); });
      return;
    }
    for (const auto& [key, group] : groups_) {
      const int32_t all = width(group), rows = group.form == TILED ? TILED_ROWS : kernels().tile_rows;
      const int32_t share = (int32_t)round_up((all + threads - 1) / threads, rows);
      for (int32_t first = 0; first < all; first += share)
        out.push_back([&group, first, last = std::min(all, first + share)] { work(group, first, last); });
    }
  }

 private:
  struct Target {
    int32_t source, row, rows, column, columns;
    bool overlaps(const Target& o) const {
      return source == o.source && row < o.row + o.rows && o.row < row + rows && column < o.column + o.columns &&
             o.column < column + columns;
    }
  };

  const Pointers& rows(const Place& place) {
    const bool prologue = place.prologue && (batch_.index || place.buffer != PGRAD);
    auto [at, fresh] = rows_.try_emplace({prologue, place.buffer});
    if (fresh) at->second = rows_of(batch_, s_, ready_, prologue, place.buffer, pgrad_);
    return at->second;
  }

  Sums& group(const Place& place) {
    const Pointers& a = rows(place);
    auto [at, fresh] = groups_.try_emplace(a.data());
    if (fresh) at->second = {a.data(), (int64_t)a.size(), a.size() > 1 && (a[1] - a[0]) / 16 % 2 != 0, kernels().of(batch_.form), {}, {}};
    return at->second;
  }

  void add(const OuterSpec& o) {
    const MatrixSpec& m = s_.program->matrices[o.matrix];
    const Parameter& target = s_.parameters[m.source];
    if (!target.gradient) return;
    const Place &a = m.transposed ? o.gradient : o.source, &b = m.transposed ? o.source : o.gradient;
    const int32_t height = m.transposed ? m.width : m.inner, across = m.transposed ? m.inner : m.width;
    group(a).products.push_back({rows(b).data(), a.offset, height, b.offset, across,
                                 target.gradient + m.row * target.gradient_stride + m.column, target.gradient_stride});
    targets_.push_back({m.source, m.row, height, m.column, across});
  }

  void add(const SumSpec& sum) {
    const Parameter& target = s_.parameters[sum.source];
    if (!target.gradient) return;
    const float* const* factor = sum.factor.buffer < 0 ? nullptr : rows(sum.factor).data();
    group(sum.gradient)
        .columns.push_back({sum.gradient.offset, sum.width, target.gradient + sum.first, factor, sum.factor.offset});
    targets_.push_back({sum.source, sum.first, sum.width, 0, 1});
  }

  bool overlapping() const {
    for (size_t i = 0; i < targets_.size(); i++)
      for (size_t j = 0; j < i; j++)
        if (targets_[i].overlaps(targets_[j])) return true;
    return false;
  }

  static int32_t width(const Sums& s) {
    int32_t end = 0;
    for (const Outer& o : s.products) end = std::max(end, o.a_offset + o.m);
    for (const ColumnSum& c : s.columns) end = std::max(end, c.a_offset + c.width);
    return end;
  }

  static void work(const Sums& s, int32_t first, int32_t last) {
    task_space.reset();
    kernels().sums(s, first, last, task_space.floats(kernels().sums_workspace(s)));
  }

  const Batch& batch_;
  const Stream& s_;
  const Prepared& ready_;
  const float* pgrad_;
  std::map<std::pair<bool, int>, Pointers> rows_;
  std::map<const float* const*, Sums> groups_;
  std::vector<Target> targets_;
};

}  // namespace unspool
