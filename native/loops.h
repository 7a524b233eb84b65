// The time loops: one task's share of the sequences, forward and backward.
#pragma once
#include <cstring>

#include "lanes.h"
#include "program.h"

namespace unspool {

inline thread_local Workspace task_space;   // of the thread that runs a task

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// The rows of a buffer in a tile of `rows`.
inline void fix_rows(Tile& tile, int rows, int buffer, float* base, int64_t stride) {
  for (int r = 0; r < rows; r++) tile.row[buffer][r] = base + r * stride;
}

// The places that are the same for all tiles of a task: so many floats of scratch a row, and the vectors.
inline void lay_out(Tile& tile, int rows, int64_t scratch, const Prepared& ready) {
  scratch = round_up(scratch, 16);
  fix_rows(tile, rows, SCRATCH, task_space.floats(scratch * rows), scratch);
  fix_rows(tile, rows, VEC, ready.vectors, 0);
}

// Rows of a tile that runs a tape: three times as many where a matrix comes from far away, which is then read as seldom.
inline int tile_rows(const Tape& tape, const Prepared& ready) {
  int rows = kernels().tile_rows;
  for (const Instr& i : tape.code) {
    if (i.op != Op::matmul_) continue;
    if (ready.matrices[i.matrix].form == TILED) return TILED_ROWS;
    if (is_far(ready.matrices[i.matrix])) rows = 3 * kernels().tile_rows;
  }
  return rows;
}

// f(first, count) for the tiles of so many rows, about equally full.
template <class F>
inline void in_tiles(int64_t rows, int64_t most, F f) {
  const int64_t tiles = (rows + most - 1) / most;
  for (int64_t t = 0; t < tiles; t++) {
    const int64_t first = rows * t / tiles;
    f(first, (int)(rows * (t + 1) / tiles - first));
  }
}

// Asks for a row of the next step, into the second cache: 5 to 8 % of a training step at 256 units.
enum Access { READ, WRITE };
template <Access ACCESS = READ>
inline void ahead(const float* row, int64_t width) {
  for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(row + i, ACCESS, 2);
}

// Where row `row` of a buffer is written: there, or in a team's other members, who compute the same, in a place that
// nobody reads after the step.
struct Written {
  float* base = nullptr;
  int64_t width = 0;
  float* aside = nullptr;
  Written(float* base, int64_t width, const Member* member, int tile_rows)
      : base(base), width(width), aside(member && member->rank ? task_space.floats(width * tile_rows) : nullptr) {}
  float* at(int64_t row, int r) const { return aside ? aside + r * width : base + row * width; }
};

// One task's forward time loop.
class Forward {
 public:
  Forward(const Batch& batch, const Stream& stream, const Prepared& ready, const float* table, Member* member = nullptr)
      : batch_(batch), s_(stream), p_(*stream.program), ready_(ready), table_(table), member_(member), k_(kernels()) {}

  void run(const std::vector<int64_t>& sequences) {
    task_space.reset();
    if (member_ && member_->ahead() && member_->rank) return work_ahead(sequences);
    Lanes lanes(sequences, batch_.offsets, s_.reverse, k_.tile_rows);
    const int rows = tile_rows(p_.loop, ready_);
    lay_out(loop_, rows, p_.loop.scratch, ready_);
    lay_out(pro_, pro_rows_, p_.prologue.scratch, ready_);
    const int64_t tile = k_.tile_rows, four_tiles = 4 * tile / std::max(lanes.count(), 1);
    ring_rows_ = std::min(tile, std::max(tile / 4, four_tiles));   // short: rows are read while still in the cache
    const bool own_prologue = !table_ && !p_.prologue.code.empty();
    const Written lstash(s_.lstash, p_.lstash, member_, rows), pstash(s_.pstash, p_.pstash, member_, pro_rows_);
    lstash_ = &lstash;
    pstash_ = &pstash;
    if (own_prologue && !helped()) ring_ = task_space.floats((int64_t)lanes.count() * ring_rows_ * p_.pro);
    for (size_t k = 0; k < p_.state_widths.size(); k++)
      if (!rows_of(k))
        kept_[k] = task_space.floats(2 * (int64_t)lanes.count() * round_up(p_.state_widths[k], 16));
    while (!lanes.active.empty()) {
      if (own_prologue) fill_ring(lanes.active);
      in_tiles(lanes.active.size(), rows, [&](int64_t first, int count) { step(lanes.active.data() + first, count); });
      lanes.advance();
    }
    if (helped()) member_->use(tiles_);
  }

 private:
  // One lane, whose rows of the prologue are made by the team's others.
  bool helped() const { return member_ && member_->ahead(); }
  Member* by_columns() const { return helped() ? nullptr : member_; }
  float* tile_of_ring(unsigned number) const {
    return member_->team->ring + (int64_t)(number % RING_TILES) * k_.tile_rows * p_.pro;
  }

  // Makes the tiles of the prologue that nobody else does, in the order in which the lane of `run` takes them.
  void work_ahead(const std::vector<int64_t>& sequences) {
    lay_out(pro_, k_.tile_rows, p_.prologue.scratch, ready_);
    unsigned number = 0;
    for (int64_t s : sequences) {
      const int64_t length = batch_.offsets[s + 1] - batch_.offsets[s];
      const int64_t start = s_.reverse ? batch_.offsets[s + 1] - 1 : batch_.offsets[s];
      for (int64_t first = 0; first < length; first += k_.tile_rows, number++)
        if (member_->begin(number)) make_tile(number, start, first, length);
    }
  }
  void make_tile(unsigned number, int64_t start, int64_t first, int64_t length) {
    float* rows = tile_of_ring(number);
    pro_.rows = (int)std::min<int64_t>(k_.tile_rows, length - first);
    for (int r = 0; r < pro_.rows; r++) {
      const int64_t row = start + (first + r) * (s_.reverse ? -1 : 1);
      pro_.row[X][r] = const_cast<float*>(batch_.x) + row * batch_.x_stride;
      pro_.row[PRO][r] = rows + r * p_.pro;
      pro_.row[PSTASH][r] = s_.pstash + row * p_.pstash;
    }
    k_.run(p_.prologue, pro_, ready_.matrices.data(), nullptr);
    member_->made(number);
  }

  bool writes() const { return !member_ || member_->rank == 0; }
  float* rows_of(size_t k) const { return writes() ? s_.states[k].rows : nullptr; }

  float* kept(size_t k, const Lane& lane, int64_t parity) const {
    return kept_[k] + (2 * lane.id + (parity & 1)) * round_up(p_.state_widths[k], 16);
  }

  // The prologue of the next rows of every lane that has used up its ring.
  void fill_ring(const std::vector<Lane>& active) {
    pro_.rows = 0;
    if (helped()) {
      const Lane& lane = active[0];
      if (lane.done % ring_rows_) return;
      member_->use(tiles_);
      if (member_->begin(tiles_)) make_tile(tiles_, lane.row, 0, lane.left);
      else member_->wait_until_made(tiles_);
      ring_ = tile_of_ring(tiles_++) - lane.id * ring_rows_ * p_.pro;
      return;
    }
    for (const Lane& lane : active) {
      if (lane.done % ring_rows_) continue;
      const int64_t n = std::min<int64_t>(ring_rows_, lane.left);
      for (int64_t i = 0; i < n; i++) {
        const int r = pro_.rows++;
        const int64_t row = lane.row + i * lane.step_row;
        pro_.row[X][r] = const_cast<float*>(batch_.x) + row * batch_.x_stride;
        pro_.row[PRO][r] = ring_ + (lane.id * ring_rows_ + i) * p_.pro;
        pro_.row[PSTASH][r] = pstash_->at(row, r);
        ahead(batch_.x + (row + n * lane.step_row) * batch_.x_stride, p_.input);
        ahead<WRITE>(pstash_->at(row + n * lane.step_row, r), p_.pstash);
        if (pro_.rows == pro_rows_) flush_prologue();
      }
    }
    if (pro_.rows) flush_prologue();
  }
  void flush_prologue() {
    k_.run(p_.prologue, pro_, ready_.matrices.data(), by_columns());
    pro_.rows = 0;
  }

  void step(const Lane* lanes, int rows) {
    loop_.rows = rows;
    for (int r = 0; r < rows; r++) {
      const Lane& lane = lanes[r];
      loop_.row[PRO][r] = table_ ? const_cast<float*>(table_) + batch_.index[lane.row] * p_.pro
                                 : ring_ + (lane.id * ring_rows_ + lane.done % ring_rows_) * p_.pro;
      loop_.row[LSTASH][r] = lstash_->at(lane.row, r);
      ahead<WRITE>(lstash_->at(lane.row + lane.step_row, r), p_.lstash);
    }
    for (size_t k = 0; k < p_.state_widths.size(); k++) {
      const Stream::State& state = s_.states[k];
      for (int r = 0; r < rows; r++) {
        const Lane& lane = lanes[r];
        const int64_t width = p_.state_widths[k];
        float* rows = rows_of(k);
        const float* before = lane.done == 0 ? (state.initial ? state.initial + lane.sequence * width : ready_.zeros)
                              : rows         ? rows + (lane.row - lane.step_row) * state.stride
                                             : kept(k, lane, lane.done);
        loop_.row[STATE_IN + k][r] = const_cast<float*>(before);
        loop_.row[STATE_OUT + k][r] = rows                         ? rows + lane.row * state.stride
                                      : lane.left == 1 && writes() ? state.final + lane.sequence * width
                                                                   : kept(k, lane, lane.done + 1);
      }
    }
    k_.run(p_.loop, loop_, ready_.matrices.data(), by_columns());
    for (int r = 0; r < rows; r++)
      if (lanes[r].left == 1)
        for (size_t k = 0; k < p_.state_widths.size(); k++)
          if (rows_of(k))
            std::memcpy(s_.states[k].final + lanes[r].sequence * p_.state_widths[k], loop_.row[STATE_OUT + k][r],
                        p_.state_widths[k] * sizeof(float));
  }

  const Batch& batch_;
  const Stream& s_;
  const Program& p_;
  const Prepared& ready_;
  const float* table_;
  Member* member_;
  const Kernels& k_;
  const Written *lstash_ = nullptr, *pstash_ = nullptr;
  Tile loop_, pro_;
  const int pro_rows_ = tile_rows(p_.prologue, ready_);
  float* ring_ = nullptr;              // (lanes, ring_rows_, pro)
  int64_t ring_rows_ = 1;
  unsigned tiles_ = 0;                 // taken from the team's ring
  float* kept_[MAX_STATES] = {};
};

// One task's backward time loop: each sequence from its last step to its first.
class Backward {
 public:
  Backward(const Batch& batch, const Stream& stream, const Prepared& ready, Member* member = nullptr)
      : batch_(batch), s_(stream), p_(*stream.program), ready_(ready), member_(member), k_(kernels()) {}

  void run(const std::vector<int64_t>& sequences) {
    task_space.reset();
    Lanes lanes(sequences, batch_.offsets, !s_.reverse, k_.tile_rows);
    const int rows = tile_rows(p_.loop_back, ready_);
    lay_out(tile_, rows, p_.loop_back.scratch, ready_);
    const Written bstash(s_.bstash, p_.bstash, member_, rows), pgrad(s_.pgrad, p_.pgrad, member_, rows);
    bstash_ = &bstash;
    pgrad_ = &pgrad;
    for (size_t k = 0; k < p_.state_widths.size(); k++)
      carried_[k] = task_space.floats(2 * (int64_t)lanes.count() * round_up(p_.state_widths[k], 16));
    while (!lanes.active.empty()) {
      in_tiles(lanes.active.size(), rows, [&](int64_t first, int count) { step(lanes.active.data() + first, count); });
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
      tile_.row[X][r] = const_cast<float*>(batch_.x) + pro_row * batch_.x_stride;
      tile_.row[PSTASH][r] = s_.pstash + pro_row * p_.pstash;
      tile_.row[LSTASH][r] = s_.lstash + row * p_.lstash;
      tile_.row[BSTASH][r] = bstash_->at(row, r);
      tile_.row[PGRAD][r] = pgrad_->at(row, r);
      tile_.row[DY][r] = const_cast<float*>(s_.dy ? s_.dy + row * s_.dy_stride : ready_.zeros);
      const int64_t next = row + lanes[r].step_row;
      ahead(s_.lstash + next * p_.lstash, p_.lstash);
      ahead<WRITE>(bstash_->at(next, r), p_.bstash);
      ahead<WRITE>(pgrad_->at(next, r), p_.pgrad);
      if (s_.dy) ahead(s_.dy + next * s_.dy_stride, p_.state_widths[0]);
      if (!batch_.index) ahead(s_.pstash + next * p_.pstash, p_.pstash);
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
        ahead(state.rows + (lane.row + 2 * lane.step_row) * state.stride, width);
        const bool last = first && state.d_initial && (!member_ || member_->rank == 0);
        tile_.row[ADJ_OUT + k][r] = last ? state.d_initial + lane.sequence * width
                                                             : carried(k, lane, lane.done + 1);
      }
    }
    k_.run(p_.loop_back, tile_, ready_.matrices.data(), member_);
  }

  const Batch& batch_;
  const Stream& s_;
  const Program& p_;
  const Prepared& ready_;
  Member* member_;
  const Kernels& k_;
  const Written *bstash_ = nullptr, *pgrad_ = nullptr;
  Tile tile_;
  float* carried_[MAX_STATES] = {};
};

}  // namespace unspool
