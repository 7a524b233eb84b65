// Scratch memory that a thread keeps between calls: 64-byte aligned, never zeroed.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace unspool {

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
