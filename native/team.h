// Threads that take every step of the same sequences together.
#pragma once
#include <atomic>
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

constexpr int MAX_TEAM = 16;
constexpr unsigned RING_TILES = 32;

// Threads that share the steps of the same sequences, in one of two ways. By columns: each computes some columns of each
// product, and all else for itself. Ahead, where `ring` is not null: member 0 runs the steps, the others make the rows
// of the prologue that it will need, tile i by member 1 + i % (size - 1).
struct Team {
  float* exchange[2] = {};   // (MAX_ROWS, width of a product): in turn, so that one can be read while one is written
  float* ring = nullptr;     // (RING_TILES, rows of a tile, width of the prologue)
  struct alignas(64) Count {
    std::atomic<unsigned> value{0};
  } done[MAX_TEAM];          // by each member: products, or tiles made; by member 0 tiles used
};

struct Member {              // of a team; the one of rank 0 writes the results
  Team* team;
  int rank, size;
  unsigned done = 0;

  float* exchange() const { return team->exchange[done & 1]; }
  bool ahead() const { return team->ring; }

  void tell(unsigned count) { team->done[rank].value.store(done = count, std::memory_order_release); }

  void wait_for(int other, unsigned count) const {
    for (int spins = 0; (int)(team->done[other].value.load(std::memory_order_acquire) - count) < 0; spins++)
      spins < 20000 ? relax() : std::this_thread::yield();
  }

  void meet() {
    tell(done + 1);
    for (int other = 0; other < size; other++) wait_for(other, done);
  }

  int maker(unsigned tile) const { return 1 + tile % (size - 1); }

  // Member 0, which has used the tiles before it: waits for one.
  void use(unsigned tile) {
    tell(tile);
    wait_for(maker(tile), tile / (size - 1) + 1);
  }
  // Another: waits until its place in the ring is free.
  void make(unsigned tile) const {
    if (tile >= RING_TILES) wait_for(0, tile - RING_TILES + 1);
  }
};

}  // namespace unspool
