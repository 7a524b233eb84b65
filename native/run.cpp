// Programs over ragged batches. Each thread takes a share of the sequences, or a direction, and runs its
// whole time loop alone; then the products over all tokens are shared out by blocks of the result.
#include <cstring>
#include <deque>
#include <functional>

#include "lanes.h"
#include "pool.h"
#include "program.h"
#include "workspace.h"

namespace unspool {
namespace {

thread_local Workspace call_space;   // of the thread that calls: lives through all phases
thread_local Workspace task_space;   // of the thread that runs a task

using Matrices = std::vector<const float*>;

struct Prepared {
  Matrices matrices;
  float* vectors;
  float* zeros;
};

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

View view_of(const MatrixSpec& m, const Parameter& p) {
  const float* origin = p.data + m.row * p.row_stride + m.column * p.column_stride;
  return m.transposed ? View{origin, p.column_stride, p.row_stride, m.inner, m.width}
                      : View{origin, p.row_stride, p.column_stride, m.inner, m.width};
}

void used_matrices(const Tape& tape, std::vector<char>& used) {
  for (const Instr& i : tape.code)
    if (i.op == Op::matmul_) used[i.matrix] = 1;
}

// Packs the matrices that `tapes` use and lays out the vectors.
std::vector<Prepared> prepare(const Batch& batch, const std::vector<Stream>& streams,
                              const std::vector<Tape Program::*>& tapes) {
  const Kernels& k = kernels();
  std::vector<Prepared> out(streams.size());
  struct Job {
    View view;
    float* packed;
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
      const View view = view_of(p.matrices[m], streams[d].parameters[p.matrices[m].source]);
      float* packed = call_space.floats(k.packed_size(view.inner, view.width));
      out[d].matrices[m] = packed;
      elements += (int64_t)view.inner * view.width;
      const int panels = k.panels(view.width);
      for (int first = 0; first < panels; first += 4)
        jobs.push_back({view, packed, first, std::min(first + 4, panels)});
    }
    int64_t zeros = p.input;
    for (int32_t w : p.state_widths) zeros = std::max<int64_t>(zeros, w);
    out[d].zeros = call_space.floats(zeros);
    std::memset(out[d].zeros, 0, zeros * sizeof(float));
    out[d].vectors = call_space.floats(p.vectors);
    std::memset(out[d].vectors, 0, p.vectors * sizeof(float));
    for (const VectorSpec& v : p.vector_parts) {
      const Parameter& s = streams[d].parameters[v.source];
      for (int32_t i = 0; i < v.width; i++) out[d].vectors[v.offset + i] += s.data[(v.first + i) * s.column_stride];
    }
    for (const ConstantSpec& c : p.constants) out[d].vectors[c.offset] = c.value;
  }
  parallel((int)jobs.size(), elements > 20000 ? batch.threads : 1,
           [&](int j) { k.pack(jobs[j].view, jobs[j].packed, jobs[j].first, jobs[j].last); });
  return out;
}

void fix_rows(Tile& tile, int buffer, float* base, int64_t stride) {
  for (int r = 0; r < MAX_ROWS; r++) tile.row[buffer][r] = base + r * stride;
}

// A tape over rows first ... last of per-row buffers.
struct RowBuffer {
  int buffer;
  float* base;
  int64_t stride;
};
void run_rows(const Tape& tape, const Prepared& ready, int64_t first, int64_t last,
              const std::vector<RowBuffer>& buffers) {
  const Kernels& k = kernels();
  task_space.reset();
  Tile tile;
  const int64_t stride = round_up(tape.scratch, 16);
  fix_rows(tile, SCRATCH, task_space.floats(stride * k.tile_rows), stride);
  fix_rows(tile, VEC, ready.vectors, 0);
  for (int64_t row = first; row < last; row += k.tile_rows) {
    tile.rows = (int)std::min<int64_t>(k.tile_rows, last - row);
    for (const RowBuffer& b : buffers)
      for (int r = 0; r < tile.rows; r++) tile.row[b.buffer][r] = b.base + (row + r) * b.stride;
    k.run(tape, tile, ready.matrices.data());
  }
}

// Runs `body(first, last)` over rows in chunks, on the call's threads.
template <class F>
void over_rows(const Batch& batch, int64_t rows, F body) {
  const int64_t chunk = 4 * MAX_ROWS;
  parallel((int)((rows + chunk - 1) / chunk), rows > 32 ? batch.threads : 1, [&](int i) {
    body(i * chunk, std::min(rows, (i + 1) * chunk));
  });
}

struct Task {
  int stream;
  std::vector<int64_t> sequences;
};
std::vector<Task> make_tasks(const Batch& batch, int streams) {
  const int shares = (batch.threads + streams - 1) / streams;
  std::vector<Task> tasks;
  for (auto& lot : share_out(batch.sequences, batch.offsets, shares))
    for (int d = 0; d < streams; d++)
      if (!lot.empty()) tasks.push_back({d, lot});
  return tasks;
}

// One task's forward time loop.
class Forward {
 public:
  Forward(const Batch& batch, const Stream& stream, const Prepared& ready, const float* table)
      : batch_(batch), s_(stream), p_(*stream.program), ready_(ready), table_(table), k_(kernels()) {}

  void run(const std::vector<int64_t>& sequences) {
    task_space.reset();
    Lanes lanes(sequences, batch_.offsets, s_.reverse, k_.tile_rows);
    const int64_t loop_scratch = round_up(p_.loop.scratch, 16), pro_scratch = round_up(p_.prologue.scratch, 16);
    fix_rows(loop_, SCRATCH, task_space.floats(loop_scratch * k_.tile_rows), loop_scratch);
    fix_rows(loop_, VEC, ready_.vectors, 0);
    fix_rows(pro_, SCRATCH, task_space.floats(pro_scratch * k_.tile_rows), pro_scratch);
    fix_rows(pro_, VEC, ready_.vectors, 0);
    const bool own_prologue = !table_ && !p_.prologue.code.empty();
    if (own_prologue) ring_ = task_space.floats((int64_t)lanes.count() * ring_rows() * p_.pro);
    for (size_t k = 0; k < p_.state_widths.size(); k++)
      if (!s_.states[k].rows)
        kept_[k] = task_space.floats(2 * (int64_t)lanes.count() * round_up(p_.state_widths[k], 16));
    while (!lanes.active.empty()) {
      if (own_prologue) fill_ring(lanes.active);
      const int m = (int)lanes.active.size(), tiles = (m + k_.tile_rows - 1) / k_.tile_rows;
      for (int t = 0; t < tiles; t++) step(lanes.active.data() + (int64_t)m * t / tiles,
                                           (int)((int64_t)m * (t + 1) / tiles - (int64_t)m * t / tiles));
      lanes.advance();
    }
  }

 private:
  int64_t ring_rows() const { return k_.tile_rows; }

  float* kept(size_t k, const Lane& lane, int64_t parity) const {
    return kept_[k] + (2 * lane.id + (parity & 1)) * round_up(p_.state_widths[k], 16);
  }

  // The prologue of the next rows of every lane that has used up its ring.
  void fill_ring(const std::vector<Lane>& active) {
    pro_.rows = 0;
    for (const Lane& lane : active) {
      if (lane.done % ring_rows()) continue;
      const int64_t n = std::min<int64_t>(ring_rows(), lane.left);
      for (int64_t i = 0; i < n; i++) {
        const int r = pro_.rows++;
        const int64_t row = lane.row + i * lane.step_row;
        pro_.row[X][r] = const_cast<float*>(batch_.x) + row * batch_.x_stride;
        pro_.row[PRO][r] = ring_ + (lane.id * ring_rows() + i) * p_.pro;
        pro_.row[PSTASH][r] = s_.pstash + row * p_.pstash;
        if (pro_.rows == k_.tile_rows) flush_prologue();
      }
    }
    if (pro_.rows) flush_prologue();
  }
  void flush_prologue() {
    k_.run(p_.prologue, pro_, ready_.matrices.data());
    pro_.rows = 0;
  }

  void step(const Lane* lanes, int rows) {
    loop_.rows = rows;
    for (int r = 0; r < rows; r++) {
      const Lane& lane = lanes[r];
      loop_.row[PRO][r] = table_ ? const_cast<float*>(table_) + batch_.index[lane.row] * p_.pro
                                 : ring_ + (lane.id * ring_rows() + lane.done % ring_rows()) * p_.pro;
      loop_.row[LSTASH][r] = s_.lstash + lane.row * p_.lstash;
    }
    for (size_t k = 0; k < p_.state_widths.size(); k++) {
      const Stream::State& state = s_.states[k];
      for (int r = 0; r < rows; r++) {
        const Lane& lane = lanes[r];
        const int64_t width = p_.state_widths[k];
        const float* before = lane.done == 0 ? (state.initial ? state.initial + lane.sequence * width : ready_.zeros)
                              : state.rows   ? state.rows + (lane.row - lane.step_row) * state.stride
                                             : kept(k, lane, lane.done);
        loop_.row[STATE_IN + k][r] = const_cast<float*>(before);
        loop_.row[STATE_OUT + k][r] = state.rows       ? state.rows + lane.row * state.stride
                                      : lane.left == 1 ? state.final + lane.sequence * width
                                                       : kept(k, lane, lane.done + 1);
      }
    }
    k_.run(p_.loop, loop_, ready_.matrices.data());
    for (int r = 0; r < rows; r++)
      if (lanes[r].left == 1)
        for (size_t k = 0; k < p_.state_widths.size(); k++)
          if (s_.states[k].rows)
            std::memcpy(s_.states[k].final + lanes[r].sequence * p_.state_widths[k], loop_.row[STATE_OUT + k][r],
                        p_.state_widths[k] * sizeof(float));
  }

  const Batch& batch_;
  const Stream& s_;
  const Program& p_;
  const Prepared& ready_;
  const float* table_;
  const Kernels& k_;
  Tile loop_, pro_;
  float* ring_ = nullptr;
  float* kept_[MAX_STATES] = {};
};

// One task's backward time loop: each sequence from its last step to its first.
class Backward {
 public:
  Backward(const Batch& batch, const Stream& stream, const Prepared& ready)
      : batch_(batch), s_(stream), p_(*stream.program), ready_(ready), k_(kernels()) {}

  void run(const std::vector<int64_t>& sequences) {
    task_space.reset();
    Lanes lanes(sequences, batch_.offsets, !s_.reverse, k_.tile_rows);
    const int64_t scratch = round_up(p_.loop_back.scratch, 16);
    fix_rows(tile_, SCRATCH, task_space.floats(scratch * k_.tile_rows), scratch);
    fix_rows(tile_, VEC, ready_.vectors, 0);
    for (size_t k = 0; k < p_.state_widths.size(); k++)
      carried_[k] = task_space.floats(2 * (int64_t)lanes.count() * round_up(p_.state_widths[k], 16));
    while (!lanes.active.empty()) {
      const int m = (int)lanes.active.size(), tiles = (m + k_.tile_rows - 1) / k_.tile_rows;
      for (int t = 0; t < tiles; t++) step(lanes.active.data() + (int64_t)m * t / tiles,
                                           (int)((int64_t)m * (t + 1) / tiles - (int64_t)m * t / tiles));
      lanes.advance();
    }
  }

 private:
  float* carried(size_t k, const Lane& lane, int64_t parity) const {
    return carried_[k] + (2 * lane.id + (parity & 1)) * round_up(p_.state_widths[k], 16);
  }

  void step(const Lane* lanes, int rows) {
    tile_.rows = rows;
    for (int r = 0; r < rows; r++) {
      const int64_t row = lanes[r].row, pro_row = batch_.index ? batch_.index[row] : row;
      tile_.row[PSTASH][r] = s_.pstash + pro_row * p_.pstash;
      tile_.row[LSTASH][r] = s_.lstash + row * p_.lstash;
      tile_.row[BSTASH][r] = s_.bstash + row * p_.bstash;
      tile_.row[PGRAD][r] = s_.pgrad + row * p_.pgrad;
      tile_.row[DY][r] = const_cast<float*>(s_.dy ? s_.dy + row * s_.dy_stride : ready_.zeros);
    }
    for (size_t k = 0; k < p_.state_widths.size(); k++) {
      const Stream::State& state = s_.states[k];
      const int64_t width = p_.state_widths[k];
      for (int r = 0; r < rows; r++) {
        const Lane& lane = lanes[r];
        const bool first = lane.left == 1;   // of the sequence, in the forward's order
        tile_.row[STATE_OUT + k][r] = state.rows + lane.row * state.stride;
        tile_.row[STATE_IN + k][r] =
            !first          ? state.rows + (lane.row + lane.step_row) * state.stride
            : state.initial ? const_cast<float*>(state.initial) + lane.sequence * width
                            : ready_.zeros;
        const float* in = lane.done ? carried(k, lane, lane.done)
                          : state.d_final ? state.d_final + lane.sequence * width : ready_.zeros;
        tile_.row[ADJ_IN + k][r] = const_cast<float*>(in);
        tile_.row[ADJ_OUT + k][r] = first && state.d_initial ? state.d_initial + lane.sequence * width
                                                             : carried(k, lane, lane.done + 1);
      }
    }
    k_.run(p_.loop_back, tile_, ready_.matrices.data());
  }

  const Batch& batch_;
  const Stream& s_;
  const Program& p_;
  const Prepared& ready_;
  const Kernels& k_;
  Tile tile_;
  float* carried_[MAX_STATES] = {};
};

void keep_state_of_empty(const Batch& batch, const Stream& s, bool backward) {
  for (int64_t b = 0; b < batch.sequences; b++) {
    if (batch.offsets[b + 1] > batch.offsets[b]) continue;
    for (size_t k = 0; k < s.program->state_widths.size(); k++) {
      const int64_t width = s.program->state_widths[k];
      const Stream::State& state = s.states[k];
      const float* from = backward ? state.d_final : state.initial;
      float* to = backward ? state.d_initial : state.final;
      if (!to) continue;
      if (from) std::memcpy(to + b * width, from + b * width, width * sizeof(float));
      else std::memset(to + b * width, 0, width * sizeof(float));
    }
  }
}

// Adds the rows of tokens that share an input row.
void gather_gradients(const Batch& batch, const Stream& s, float* sums) {
  const int64_t width = s.program->pgrad;
  const int64_t chunk = 128;           // columns a task: no two tasks touch the same numbers
  parallel((int)((width + chunk - 1) / chunk), batch.threads, [&](int c) {
    const int64_t first = c * chunk, n = std::min(width - first, chunk);
    for (int64_t row = 0; row < batch.input_rows; row++) std::memset(sums + row * width + first, 0, n * sizeof(float));
    for (int64_t t = 0; t < batch.tokens; t++) {
      float* to = sums + batch.index[t] * width + first;
      const float* from = s.pgrad + t * width + first;
      for (int64_t i = 0; i < n; i++) to[i] += from[i];
    }
  });
}

using Pointers = std::vector<const float*>;

Pointers rows_of(const Batch& batch, const Stream& s, const Prepared& ready, const Place& place, const float* pgrad) {
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

}  // namespace

void run_forward(const Batch& batch, std::vector<Stream>& streams) {
  call_space.reset();
  const auto ready = prepare(batch, streams, {&Program::prologue, &Program::loop});
  std::vector<float*> tables(streams.size(), nullptr);
  for (size_t d = 0; d < streams.size(); d++) {
    const Stream& s = streams[d];
    const Program& p = *s.program;
    keep_state_of_empty(batch, s, false);
    if (!batch.index || p.prologue.code.empty()) continue;
    tables[d] = call_space.floats(batch.input_rows * p.pro);
    over_rows(batch, batch.input_rows, [&](int64_t first, int64_t last) {
      run_rows(p.prologue, ready[d], first, last,
               {{X, const_cast<float*>(batch.x), batch.x_stride}, {PRO, tables[d], p.pro}, {PSTASH, s.pstash, p.pstash}});
    });
  }
  const auto tasks = make_tasks(batch, (int)streams.size());
  parallel((int)tasks.size(), batch.threads, [&](int i) {
    const int d = tasks[i].stream;
    Forward(batch, streams[d], ready[d], tables[d]).run(tasks[i].sequences);
  });
}

void run_backward(const Batch& batch, std::vector<Stream>& streams) {
  call_space.reset();
  const auto ready = prepare(batch, streams, {&Program::loop_back, &Program::prologue_back});
  for (auto& s : streams) keep_state_of_empty(batch, s, true);
  const auto tasks = make_tasks(batch, (int)streams.size());
  parallel((int)tasks.size(), batch.threads, [&](int i) {
    const int d = tasks[i].stream;
    Backward(batch, streams[d], ready[d]).run(tasks[i].sequences);
  });

  GradientSums work;
  for (size_t d = 0; d < streams.size(); d++) {
    const Stream& s = streams[d];
    const Program& p = *s.program;
    float* pgrad = s.pgrad;
    if (batch.index && p.pgrad) {
      pgrad = call_space.floats(batch.input_rows * p.pgrad);
      gather_gradients(batch, s, pgrad);
    }
    if (!p.prologue_back.code.empty())
      over_rows(batch, batch.input_rows, [&](int64_t first, int64_t last) {
        run_rows(p.prologue_back, ready[d], first, last,
                 {{X, const_cast<float*>(batch.x), batch.x_stride}, {PSTASH, s.pstash, p.pstash},
                  {PGRAD, pgrad, p.pgrad}, {PBSTASH, s.pbstash, p.pbstash}, {DX, s.dx, p.input}});
      });
    auto rows = [&](const Place& place) { return rows_of(batch, s, ready[d], place, pgrad); };
    for (const OuterSpec& o : p.outers) {
      const MatrixSpec& m = p.matrices[o.matrix];
      const Parameter& target = s.parameters[m.source];
      if (!target.gradient) continue;
      const Pointers& source = work.keep(rows(o.source));
      const Pointers& gradient = work.keep(rows(o.gradient));
      float* c = target.gradient + m.row * target.gradient_stride + m.column;
      const Outer outer{m.transposed ? gradient.data() : source.data(), m.transposed ? source.data() : gradient.data(),
                        (int64_t)source.size(), m.transposed ? m.inner : m.width, c, target.gradient_stride};
      work.add({outer, m.transposed ? m.width : m.inner, target.gradient, m.row, m.column});
    }
    for (const SumSpec& sum : p.sums) {
      const Parameter& target = s.parameters[sum.source];
      if (target.gradient) work.add({&work.keep(rows(sum.gradient)), sum.width, target.gradient, sum.first});
    }
  }
  work.run(batch.threads);
}

}  // namespace unspool
