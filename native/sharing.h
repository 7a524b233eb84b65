// How threads that would be left over share the steps of a sequence.
#pragma once
#include <algorithm>

#include "loops.h"

namespace unspool {

struct Products {            // of a tape: how many, the numbers of their matrices, the widest
  double count = 0, elements = 0;
  int64_t widest = 0;
};
inline Products products_of(const Tape& tape) {
  Products found;
  for (const Instr& i : tape.code)
    if (i.op == Op::matmul_) {
      found.count++;
      found.elements += (double)i.inner * i.width;
      found.widest = std::max<int64_t>(found.widest, round_up(i.width, 64));
    }
  return found;
}

// How teams of threads share the steps of one sequence each: cycles a step, as measured with 16 floats a vector. A row
// multiplies 16 numbers a cycle in a full tile, 8 alone, where weights come from the second cache; a meeting is 1,500.
enum Sharing { ALONE, BY_COLUMNS, AHEAD };
inline Sharing best_sharing(const Products& prologue, const Products& loop, double threads) {
  const double rows = kernels().tile_rows, before = prologue.elements / 16, step = loop.elements / 8, meeting = 1500;
  const double alone = before + step;
  const double columns = alone / threads + meeting * (loop.count + prologue.count / rows);
  const double ahead = prologue.count ? std::max(before / (threads - 1), step) : alone;
  return ahead < std::min(alone, columns) ? AHEAD : columns < alone ? BY_COLUMNS : ALONE;
}

}  // namespace unspool
