// Version: which ray-engine this is.
//
// The build id tells whether two processes may talk to each other: it names version, commit and a hash of the headers
// that define what they exchange. Every hand-shake compares it.
//
// Immutable.

#pragma once

#include <string_view>

namespace ray_engine {

std::string_view Version();  // "0.1.0"
std::string_view Commit();   // "1a2b3c4d5e6f"; "unknown" when built outside a git checkout
std::string_view BuildId();  // "0.1.0+1a2b3c4d5e6f.0123456789ab"

}  // namespace ray_engine
