// Sums over all rows: where their operands stand, and who adds what.
#pragma once
#include <algorithm>
#include <deque>
#include <functional>

#include "loops.h"
#include "pool.h"

namespace unspool {

using Pointers = std::vector<const float*>;

inline Pointers rows_of(const Batch& batch, const Stream& s, const Prepared& ready, const Place& place, const float* pgrad) {
  const Program& p = *s.program;
  const int64_t n = place.prologue ? batch.input_rows : batch.tokens;
  Pointers rows(n);
  auto strided = [&](const float* base, int64_t stride) {
    for (int64_t i = 0; i < n; i++) rows[i] = base + i * stride + place.offset;
  };
  if (place.buffer == X) strided(batch.x, batch.x_stride);
  else if (place.buffer == PSTASH) strided(s.pstash, p.pstash);
  else if (place.buffer == LSTASH) strided(s.lstash, p.lstash);
  else if (place.buffer == BSTASH) strided(s.bstash, p.bstash);
  else if (place.buffer == PBSTASH) strided(s.pbstash, p.pbstash);
  else if (place.buffer == PGRAD) strided(place.prologue ? pgrad : s.pgrad, p.pgrad);
  else if (place.buffer >= STATE_OUT && place.buffer < ADJ_IN) {
    const auto& state = s.states[place.buffer - STATE_OUT];
    strided(state.rows, state.stride);
  } else {
    const int k = place.buffer - STATE_IN;
    const Stream::State& state = s.states[k];
    const int64_t step = s.reverse ? -1 : 1;
    for (int64_t b = 0; b < batch.sequences; b++) {
      const int64_t first = s.reverse ? batch.offsets[b + 1] - 1 : batch.offsets[b];
      for (int64_t t = batch.offsets[b]; t < batch.offsets[b + 1]; t++)
        rows[t] = place.offset + (t != first      ? state.rows + (t - step) * state.stride
                                  : state.initial ? state.initial + b * p.state_widths[k]
                                                  : ready.zeros);
    }
  }
  return rows;
}

// The sums over all rows that make the gradients of parameters. Sums that touch the same numbers run one after
// the other, in a fixed order, so that results do not depend on threads.
class GradientSums {
 public:
  struct Product {
    Outer outer;
    int32_t rows;
    const float* parameter;
    int32_t row, column;
    bool overlaps(const Product& o) const {
      return parameter == o.parameter && row < o.row + o.rows && o.row < row + rows &&
             column < o.column + o.outer.n && o.column < column + outer.n;
    }
  };
  struct Sum {
    const Pointers* rows;
    int32_t width;
    float* parameter;
    int32_t first;
    bool overlaps(const Sum& o) const {
      return parameter == o.parameter && first < o.first + o.width && o.first < first + width;
    }
  };
  const Pointers& keep(Pointers rows) { return pointers_.emplace_back(std::move(rows)); }
  void add(const Product& p) { insert(products_, p); }
  void add(const Sum& s) { insert(sums_, s); }

  void run(int threads) {
    const Kernels& k = kernels();
    std::vector<std::function<void()>> jobs;
    for (auto& group : products_) {
      const int shares = group.size() == 1 ? threads : 1;
      const int64_t share = round_up((group[0].rows + shares - 1) / shares, k.tile_rows);
      for (int64_t first = 0; first < (shares == 1 ? 1 : group[0].rows); first += share)
        jobs.push_back([&group, &k, first, share, shares] {
          for (const Product& p : group) {
            task_space.reset();
            const int32_t last = shares == 1 ? p.rows : (int32_t)std::min<int64_t>(p.rows, first + share);
            k.outer(p.outer, (int32_t)first, last, task_space.floats(k.outer_workspace(p.outer.n)));
          }
        });
    }
    for (auto& group : sums_)
      jobs.push_back([&group, &k] {
        for (const Sum& s : group) k.column_sum(s.rows->data(), (int64_t)s.rows->size(), s.width, s.parameter + s.first);
      });
    parallel((int)jobs.size(), threads, [&](int i) { jobs[i](); });
  }

 private:
  template <class T>
  static void insert(std::vector<std::vector<T>>& groups, const T& item) {
    std::vector<T> merged;
    for (size_t g = 0; g < groups.size();) {
      const bool touches = std::any_of(groups[g].begin(), groups[g].end(), [&](const T& o) { return item.overlaps(o); });
      if (!touches) {
        g++;
        continue;
      }
      merged.insert(merged.end(), groups[g].begin(), groups[g].end());
      groups.erase(groups.begin() + g);
    }
    merged.push_back(item);
    groups.push_back(std::move(merged));
  }
  std::deque<Pointers> pointers_;
  std::vector<std::vector<Product>> products_;
  std::vector<std::vector<Sum>> sums_;
};

}  // namespace unspool
