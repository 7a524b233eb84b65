// Many sessions, a step or a chunk each: tiles of sessions, each with all its steps, go round the threads.
#include "chain.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "loops.h"
#include "pool.h"

namespace unspool {

Chain::Chain(std::vector<Link> links, int32_t input, int32_t width, int32_t beside, Spot output, int32_t output_width,
             bool every)
    : input(input), width(width), beside(beside), output_width(output_width), every(every), links_(std::move(links)),
      output_(output) {
  const auto inside = [&](const Spot& s, int64_t size, bool written) {
    const int64_t room = s.part == Part::INPUT ? input : s.part == Part::BESIDE ? beside : width;
    const bool fits = s.offset >= (s.part == Part::BESIDE && written ? 1 : 0) && s.offset + size <= room;
    if (!fits || (written && (s.part == Part::INPUT || s.part == Part::BEFORE)))
      throw std::invalid_argument("A link of a chain lies outside of its rows.");
  };
  constexpr int64_t WIDEST = 1 << 24;
  for (int64_t size : {(int64_t)input, (int64_t)width + 1, (int64_t)beside, (int64_t)output_width})
    if (size < 1 || size > WIDEST) throw std::invalid_argument("The widths of a chain must be in [1, 16777216].");
  inside(output_, output_width, false);
  for (const Link& l : links_) {
    const Program& p = *l.program;
    if (!p.loop_back.code.empty() || l.in.size() != p.state_widths.size() || l.out.size() != l.in.size())
      throw std::invalid_argument("A link of a chain has another number of parts than its program.");
    inside(l.x, p.input, false);
    if (l.ends && l.x.part == Part::INPUT) throw std::invalid_argument("What runs where a chunk ends cannot read the input.");
    for (size_t k = 0; k < l.in.size(); k++) {
      inside(l.in[k], p.state_widths[k], false);
      if (l.in[k].part == Part::INPUT) throw std::invalid_argument("A part of a state cannot be the input.");
      inside(l.out[k], p.state_widths[k], true);
    }
    scratch_ = std::max({scratch_, p.prologue.scratch, p.loop.scratch});
    pro_ = std::max<int64_t>(pro_, p.pro);
  }
}

// A session in a tile. Its states before and after a step change places from step to step.
struct Chain::Lane {
  float *state[2], *beside;
  const float* x = nullptr;
  int64_t session, slot, first, left, done = 0, steps;

  float* at(const Spot& s) const {
    switch (s.part) {
      case Part::INPUT: return const_cast<float*>(x) + s.offset;
      case Part::BEFORE: return state[0] + s.offset;
      case Part::AFTER: return state[1] + s.offset;
      default: return beside + s.offset;
    }
  }
};

// The links of every step, or those at the end, for lanes first ... last.
void Chain::step(Lane* lanes, int first, int last, bool ends) const {
  if (first == last) return;
  const Kernels& k = kernels();
  for (const Link& link : links_) {
    if (link.ends != ends) continue;
    const Program& p = *link.program;
    const Prepared& ready = link.of->ready(0);
    Tile tile;
    task_space.reset();
    tile.rows = last - first;
    lay_out(tile, tile.rows, std::max(p.prologue.scratch, p.loop.scratch), ready);
    fix_rows(tile, tile.rows, PRO, task_space.floats((int64_t)p.pro * tile.rows), p.pro);
    for (int r = 0; r < tile.rows; r++) {
      const Lane& lane = lanes[first + r];
      tile.row[X][r] = lane.at(link.x);
      for (size_t i = 0; i < link.in.size(); i++) {
        tile.row[STATE_IN + i][r] = lane.at(link.in[i]);
        tile.row[STATE_OUT + i][r] = lane.at(link.out[i]);
      }
    }
    k.run(p.prologue, tile, ready.matrices.data(), nullptr);
    k.run(p.loop, tile, ready.matrices.data(), nullptr);
  }
}

void Chain::tile(const Sessions& s, const int64_t* order, int rows) const {
  static thread_local Workspace frames;   // `task_space` is the links'
  frames.reset();
  Lane lanes[MAX_ROWS];
  const int64_t each = round_up(width, 16), floats = 2 * each + round_up(beside, 16);
  float* space = frames.floats(rows * floats);
  for (int r = 0; r < rows; r++) {
    Lane& lane = lanes[r];
    lane.session = order[r];
    lane.slot = s.slots[lane.session];
    lane.first = s.offsets[lane.session];
    lane.left = s.offsets[lane.session + 1] - lane.first;
    lane.steps = s.steps[lane.slot];
    lane.state[0] = space + r * floats;
    lane.state[1] = lane.state[0] + each;
    lane.beside = lane.state[1] + each;
    std::memcpy(lane.state[0], s.rows + lane.slot * s.row, width * sizeof(float));
    std::memset(lane.beside, 0, beside * sizeof(float));
  }
  const auto write = [&](const Lane& lane, int64_t row) {
    std::memcpy(s.out + row * output_width, lane.at(output_), output_width * sizeof(float));
  };
  int active = rows;
  while (active && lanes[active - 1].left == 0) {   // nothing came: what it said before, or of an empty sequence
    Lane& lane = lanes[--active];
    if (every) continue;
    float* kept = s.rows + lane.slot * s.row + width;
    if (lane.steps == 0) {
      std::memcpy(lane.state[1], lane.state[0], width * sizeof(float));
      step(lanes, active, active + 1, true);
      std::memcpy(kept, lane.at(output_), output_width * sizeof(float));
    }
    std::memcpy(s.out + lane.session * output_width, kept, output_width * sizeof(float));
  }
  while (active) {
    for (int r = 0; r < active; r++) {
      Lane& lane = lanes[r];
      const int64_t token = lane.first + lane.done;
      lane.x = s.x + (s.index ? s.index[token] : token) * s.x_stride;
      lane.beside[0] = (float)++lane.steps;
    }
    step(lanes, 0, active, false);
    int ending = active;
    while (ending && lanes[ending - 1].left == 1) ending--;
    step(lanes, every ? 0 : ending, active, true);
    for (int r = 0; r < active; r++) {
      Lane& lane = lanes[r];
      if (every) write(lane, lane.first + lane.done);
      if (r >= ending) {
        float* row = s.rows + lane.slot * s.row;
        std::memcpy(row, lane.state[1], width * sizeof(float));
        s.steps[lane.slot] = lane.steps;
        if (!every) {
          write(lane, lane.session);
          std::memcpy(row + width, lane.at(output_), output_width * sizeof(float));
        }
      }
      lane.done++;
      lane.left--;
      std::swap(lane.state[0], lane.state[1]);
    }
    active = ending;
  }
}

void Chain::run(const Sessions& s, int threads) const {
  std::vector<int64_t> order(s.count);
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int64_t i) { return s.offsets[i + 1] - s.offsets[i]; };
  if (s.count > 1) std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  const int64_t rows = kernels().tile_rows, tiles = (s.count + rows - 1) / rows;
  const auto some = [&](int i) { tile(s, order.data() + i * rows, (int)std::min(rows, s.count - i * rows)); };
  constexpr int64_t MANY = 2048;       // tokens, from which waking a thread pays although others may want its core
  parallel((int)tiles, s.offsets[s.count] > MANY ? threads : 1, some);
}

}  // namespace unspool
