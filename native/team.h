// Threads that take every step of the same sequences together.
#pragma once
#include <atomic>
#include <chrono>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace unspool {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Spins for a while, then gives the core away: who is waited for may need it.
constexpr int SPINS = 4000;
constexpr int YIELDS = 20;
template <class F>
inline void wait_until(F reached) {
  for (int spins = 0; !reached(); spins++) {
    if (spins < SPINS) relax();
    else if (spins < SPINS + YIELDS) std::this_thread::yield();
    else std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

constexpr int MAX_TEAM = 16;
constexpr unsigned RING_TILES = 32;

// Threads that share the steps of the same sequences, in one of two ways. By columns: each computes some columns of each
// product, and all else for itself. Ahead, where `ring` is not null: member 0 runs the steps, the others make the rows
// of the prologue that it will need, a tile at a time; it makes itself what nobody has begun when it gets there.
struct Team {
  struct alignas(64) Count {
    std::atomic<unsigned> value{0};
  };
  float* exchange[2] = {};   // (MAX_ROWS, width of a product): in turn, so that one can be read while one is written
  Count products[MAX_TEAM];  // that each member has done
  float* ring = nullptr;     // (RING_TILES, rows of a tile, width of the prologue)
  Count begun[RING_TILES], made[RING_TILES];   // the last tile that was, in each place, plus 1
  Count used;                // tiles that member 0 has done with
};

inline void wait_for(const Team::Count& count, unsigned least) {
  wait_until([&] { return (int)(count.value.load(std::memory_order_acquire) - least) >= 0; });
}

struct Member {              // of a team; the one of rank 0 writes the results
  Team* team;
  int rank, size;
  unsigned products = 0;

  float* exchange() const { return team->exchange[products & 1]; }
  bool ahead() const { return team->ring; }

  void meet() {
    team->products[rank].value.store(++products, std::memory_order_release);
    for (int other = 0; other < size; other++) wait_for(team->products[other], products);
  }

  // Whether the tile is this member's to make; `made` tells that it has been.
  bool begin(unsigned tile) const {
    if (rank) {
      if (tile >= RING_TILES) wait_for(team->used, tile - RING_TILES + 1);
      if ((int)(team->used.value.load(std::memory_order_acquire) - tile) > 0) return false;
    }
    std::atomic<unsigned>& begun = team->begun[tile % RING_TILES].value;
    unsigned last = begun.load(std::memory_order_relaxed);
    while ((int)(last - tile) <= 0)
      if (begun.compare_exchange_weak(last, tile + 1, std::memory_order_acq_rel)) return true;
    return false;
  }
  void made(unsigned tile) const { team->made[tile % RING_TILES].value.store(tile + 1, std::memory_order_release); }

  void use(unsigned tiles) const { team->used.value.store(tiles, std::memory_order_release); }
  void wait_until_made(unsigned tile) const { wait_for(team->made[tile % RING_TILES], tile + 1); }
};

}  // namespace unspool
