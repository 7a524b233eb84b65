// Texts to words, as src/unspool/text/words.py has the tokenizers library split them; the oracle of the tests is the library.
#pragma once
#include <nanobind/nanobind.h>

namespace unspool {

// The words of `texts`, a tuple of str, lower-cased with `lower`: (names, odd, codes, offsets). names: list of the
// different words; codes: bytearray of int32, of each word of all texts the place of its name, or ~k; offsets: bytearray
// of int64, where each text begins in codes, and where the last ends. odd: list of the different pieces between spaces
// (U+0020) that hold something else than ASCII, which are not split here: ~k stands for odd[k] as a whole.
nanobind::tuple split_words(nanobind::handle texts, bool lower);

}  // namespace unspool
