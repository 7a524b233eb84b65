#pragma once
#include <string>

namespace unspool {

// Commits a "race", "shared", "overflow" or "undefined".
void plant(const std::string& kind);

}  // namespace unspool
