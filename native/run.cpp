// Programs over ragged batches. Each thread takes a share of the sequences, or a direction, and runs its
// whole time loop alone; then the products over all tokens are shared out by blocks of the result.
#include <deque>

#include "prepare.h"
#include "sharing.h"
#include "sums.h"

namespace unspool {
namespace {

thread_local Workspace call_space;   // of the thread that calls: lives through all phases

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
  const int rows = tile_rows(tape, ready);
  lay_out(tile, rows, tape.scratch, ready);
  for (int64_t row = first; row < last; row += rows) {
    tile.rows = (int)std::min<int64_t>(rows, last - row);
    for (const RowBuffer& b : buffers)
      for (int r = 0; r < tile.rows; r++) tile.row[b.buffer][r] = b.base + (row + r) * b.stride;
    k.run(tape, tile, ready.matrices.data(), nullptr);
  }
}

// `body(first, last)` over rows in chunks.
template <class F>
Phase over_rows(int threads, int64_t rows, F body) {
  const int64_t chunk = 2 * MAX_ROWS;
  return {(int)((rows + chunk - 1) / chunk), rows > 32 ? threads : 1,
          [=](int i) { body(i * chunk, std::min(rows, (i + 1) * chunk)); }};
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

// Adds a phase of the tasks side by side; where threads would be left over and it pays, teams of threads share the
// steps of one, which is done at once, after the phases so far. prologue: whether its rows are made in the time loop.
void add_tasks(const Batch& batch, const std::vector<Stream>& streams, Tape Program::*loop, bool prologue, Phases& phases,
               const std::function<void(const Task&, Member*)>& run) {
  const std::vector<Task> tasks = make_tasks(batch, (int)streams.size());
  const int count = (int)tasks.size(), size = count ? std::min(batch.threads / count, MAX_TEAM) : 1;
  Sharing sharing = ALONE;
  int64_t widest = 0, ring = 0;
  if (size > 1)
    for (size_t d = 0; d < streams.size(); d++) {
      const Program& p = *streams[d].program;
      const Products before = prologue ? products_of(p.prologue) : Products{}, step = products_of(p.*loop);
      const Sharing wanted = best_sharing(before, step, size);
      sharing = d == 0 || wanted == sharing ? wanted : ALONE;
      widest = std::max({widest, before.widest, step.widest});
      ring = std::max<int64_t>(ring, p.pro);
    }
  for (const Task& task : tasks)
    if (sharing == AHEAD && task.sequences.size() > 1) sharing = ALONE;
  if (sharing == ALONE) {
    phases.push_back({count, batch.threads, [=](int i) { run(tasks[i], nullptr); }});
    return;
  }
  in_turn(phases);
  phases.clear();
  std::deque<Team> teams(count);
  for (Team& team : teams) {
    if (sharing == AHEAD) team.ring = call_space.floats(RING_TILES * kernels().tile_rows * ring);
    else
      for (float*& rows : team.exchange) rows = call_space.floats(MAX_ROWS * widest);
  }
  together(batch.threads, [&](int rank, int threads) {
    const int size = std::min(threads / count, MAX_TEAM);          // of a team; 0: fewer threads came than there are tasks
    if (size < 2) {
      for (int i = rank; i < count; i += threads) run(tasks[i], nullptr);
    } else if (rank < size * count) {
      Member member{&teams[rank / size], rank % size, size};
      run(tasks[rank / size], &member);
    }
  });
}

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

// Adds up the rows of tokens that share an input row.
Phase gather_gradients(const Batch& batch, const Stream& s, float* sums) {
  const int64_t width = s.program->pgrad;
  const int64_t chunk = 128;           // columns a task: no two tasks touch the same numbers
  return {(int)((width + chunk - 1) / chunk), batch.threads, [=, &batch, &s](int c) {
    const int64_t first = c * chunk, n = std::min(width - first, chunk);
    for (int64_t row = 0; row < batch.input_rows; row++) std::memset(sums + row * width + first, 0, n * sizeof(float));
    for (int64_t t = 0; t < batch.tokens; t++) {
      float* to = sums + batch.index[t] * width + first;
      const float* from = s.pgrad + t * width + first;
      for (int64_t i = 0; i < n; i++) to[i] += from[i];
    }
  }};
}

// The rows of the prologue for every row of the input.
Phase prologue_of(const Batch& batch, const Stream& s, const Prepared& ready, float* rows) {
  return over_rows(batch.threads, batch.input_rows, [=, &batch, &s, &ready](int64_t first, int64_t last) {
    const Program& p = *s.program;
    run_rows(p.prologue, ready, first, last,
             {{X, const_cast<float*>(batch.x), batch.x_stride}, {PRO, rows, p.pro}, {PSTASH, s.pstash, p.pstash}});
  });
}

// tables: for each stream its rows of the prologue, by the batch's index; null: made in the time loop.
void add_loops(const Batch& batch, const std::vector<Stream>& streams, const std::vector<Prepared>& ready,
               const std::vector<float*>& tables, Phases& phases) {
  for (const Stream& s : streams) keep_state_of_empty(batch, s, false);
  add_tasks(batch, streams, &Program::loop, !batch.index, phases, [&](const Task& task, Member* member) {
    const int d = task.stream;
    Forward(batch, streams[d], ready[d], tables[d], member).run(task.sequences);
  });
}

void run_forward(const Batch& batch, const std::vector<Stream>& streams, const std::vector<Prepared>& ready,
                 Phases phases = {}) {
  std::vector<float*> tables(streams.size(), nullptr);
  for (size_t d = 0; d < streams.size(); d++) {
    const Program& p = *streams[d].program;
    if (!batch.index || p.prologue.code.empty()) continue;
    tables[d] = call_space.floats(batch.input_rows * p.pro);
    phases.push_back(prologue_of(batch, streams[d], ready[d], tables[d]));
  }
  add_loops(batch, streams, ready, tables, phases);
  in_turn(phases);
}

// From the states' initial rows to their final ones.
void run_step(int64_t rows, const float* x, int threads, const Stream& s, const Prepared& ready) {
  const Program& p = *s.program;
  const Kernels& k = kernels();
  const auto some_rows = [&](int64_t first, int64_t last) {
    task_space.reset();
    Tile tile;
    lay_out(tile, k.tile_rows, std::max(p.prologue.scratch, p.loop.scratch), ready);
    fix_rows(tile, k.tile_rows, PRO, task_space.floats((int64_t)p.pro * k.tile_rows), p.pro);
    for (int64_t row = first; row < last; row += k.tile_rows) {
      tile.rows = (int)std::min<int64_t>(k.tile_rows, last - row);
      for (int r = 0; r < tile.rows; r++) {
        tile.row[X][r] = const_cast<float*>(x) + (row + r) * p.input;
        for (size_t i = 0; i < p.state_widths.size(); i++) {
          const int64_t at = (row + r) * p.state_widths[i];
          tile.row[STATE_IN + i][r] = const_cast<float*>(s.states[i].initial) + at;
          tile.row[STATE_OUT + i][r] = s.states[i].final + at;
        }
      }
      k.run(p.prologue, tile, ready.matrices.data(), nullptr);
      k.run(p.loop, tile, ready.matrices.data(), nullptr);
    }
  };
  if (rows <= 32) parallel(1, 1, [&](int) { some_rows(0, rows); });   // without the cost of phases
  else in_turn({over_rows(threads, rows, some_rows)});
}

}  // namespace

void run_forward(const Batch& batch, std::vector<Stream>& streams) {
  call_space.reset();
  Phases phases;
  const auto ready = prepare(call_space, batch.threads, streams, {&Program::prologue, &Program::loop}, phases, batch.form);
  run_forward(batch, streams, ready, std::move(phases));
}

// Products in place add in another order than packed ones: a step agrees with a run to rounding, not to the bit.
void run_step(int64_t rows, const float* x, int threads, const Stream& stream) {
  constexpr int64_t FEW_ROWS = 4;      // packing would cost more than it gains
  call_space.reset();
  if (rows > FEW_ROWS) {
    Phases phases;
    const auto ready = prepare(call_space, threads, {&stream, 1}, {&Program::prologue, &Program::loop}, phases);
    in_turn(phases);
    return run_step(rows, x, threads, stream, ready[0]);
  }
  static thread_local Prepared in_place;
  const Program& p = *stream.program;
  in_place.matrices.resize(p.matrices.size());
  for (size_t m = 0; m < p.matrices.size(); m++)
    in_place.matrices[m].view = view_of(p.matrices[m], stream.parameters[p.matrices[m].source]);
  in_place.vectors = call_space.floats(p.vectors);
  add_up_vectors(stream, in_place.vectors);
  run_step(rows, x, threads, stream, in_place);
}

Frozen::Frozen(const std::vector<Stream>& streams, Form form, int threads) {
  Phases phases;
  ready_ = prepare(space_, threads, streams, {&Program::prologue, &Program::loop}, phases, form);
  in_turn(phases);
}

std::vector<float*> Frozen::project(const Batch& batch, const std::vector<Stream>& streams, Workspace& space) const {
  std::vector<float*> tables;
  for (size_t d = 0; d < streams.size(); d++) {
    tables.push_back(space.floats(batch.input_rows * streams[d].program->pro));
    in_turn({prologue_of(batch, streams[d], ready_[d], tables[d])});
  }
  return tables;
}

void Frozen::forward(const Batch& batch, const std::vector<Stream>& streams, const std::vector<float*>& tables) const {
  call_space.reset();
  if (tables.empty()) return run_forward(batch, streams, ready_);
  Phases phases;
  add_loops(batch, streams, ready_, tables, phases);
  in_turn(phases);
}

void Frozen::step(int64_t rows, const float* x, int threads, const Stream& stream) const {
  run_step(rows, x, threads, stream, ready_.at(0));
}

void run_backward(const Batch& batch, std::vector<Stream>& streams) {
  call_space.reset();
  Phases phases;
  const auto ready =
      prepare(call_space, batch.threads, streams, {&Program::loop_back, &Program::prologue_back}, phases, batch.form);
  for (auto& s : streams) keep_state_of_empty(batch, s, true);
  add_tasks(batch, streams, &Program::loop_back, false, phases, [&](const Task& task, Member* member) {
    Backward(batch, streams[task.stream], ready[task.stream], member).run(task.sequences);
  });

  std::deque<GradientSums> sums;
  std::vector<std::function<void()>> jobs;
  for (size_t d = 0; d < streams.size(); d++) {
    const Stream& s = streams[d];
    const Program& p = *s.program;
    float* pgrad = s.pgrad;
    if (batch.index && p.pgrad) {
      pgrad = call_space.floats(batch.input_rows * p.pgrad);
      phases.push_back(gather_gradients(batch, s, pgrad));
    }
    if (!p.prologue_back.code.empty())
      phases.push_back(over_rows(batch.threads, batch.input_rows, [=, &batch, &s, &p, &ready](int64_t first, int64_t last) {
        run_rows(p.prologue_back, ready[d], first, last,
                 {{X, const_cast<float*>(batch.x), batch.x_stride}, {PSTASH, s.pstash, p.pstash},
                  {PGRAD, pgrad, p.pgrad}, {PBSTASH, s.pbstash, p.pbstash}, {DX, s.dx, p.input}});
      }));
    sums.emplace_back(batch, s, ready[d], pgrad).jobs(batch.threads, jobs);
  }
  phases.push_back({(int)jobs.size(), batch.threads, [&jobs](int i) { jobs[i](); }});
  in_turn(phases);
}

}  // namespace unspool
