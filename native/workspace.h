// Scratch memory that a thread keeps between calls: 64-byte aligned, never zeroed.
#pragma once
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace unspool {

// Asks for pages of 2 MiB: rows of a batch lie in as many pages as there are sequences, and a miss of the page table
// costs more than one of the cache.
inline void huge_pages(void* memory, int64_t bytes) {
#if defined(__linux__)
  const uintptr_t page = 4096, first = ((uintptr_t)memory + page - 1) / page * page;
  const int64_t inside = (int64_t)((uintptr_t)memory + bytes - first) / page * page;
  if (inside >= 1 << 21) madvise((void*)first, inside, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  ~Workspace() { release(); }
  void reset() {
    used_ = 0;
    if (blocks_.size() > 1) {              // one block that holds it all from the next call on
      int64_t all = 0;
      for (auto& b : blocks_) all += b.second;
      release();
      add(all);
    }
  }
  float* floats(int64_t n) {
    n = (n + 15) / 16 * 16;
    if (blocks_.empty() || used_ + n > blocks_.back().second) add(n > 65536 ? n : 65536);
    float* p = blocks_.back().first + used_;
    used_ += n;
    return p;
  }

 private:
  void add(int64_t n) {
    void* p = std::aligned_alloc(64, n * sizeof(float));
    if (!p) throw std::bad_alloc();
    blocks_.emplace_back((float*)p, n);
    used_ = 0;
  }
  void release() {
    for (auto& b : blocks_) std::free(b.first);
    blocks_.clear();
  }
  std::vector<std::pair<float*, int64_t>> blocks_;
  int64_t used_ = 0;
};

}  // namespace unspool
