// Rows of sequences: moved between layouts, end to end and wherever else they lie in a block of rows; and looked through.
#pragma once
#include <nanobind/nanobind.h>

namespace unspool {

// Step t of sequence s, row offsets[s] + t of `values` (N, ...), is row starts[s] + at[t] of `block` (M, ...). With
// `fill` None the values are read from the block; else they are written to it, no two to one row, and `fill`, one
// number, to all rows that none of them takes.
void move_rows(nanobind::handle values, nanobind::handle block, nanobind::handle offsets, nanobind::handle starts,
               nanobind::handle at, nanobind::handle fill, int threads);

// places (B, width) int64: for each column of the sequences of `values` (N, width) the row where it is largest, the first of
// several; 0 where a sequence has none.
void peak_rows(nanobind::handle values, nanobind::handle offsets, nanobind::handle places, int threads);

}  // namespace unspool
