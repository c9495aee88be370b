// Version: which ray-engine this is, and what it serves.
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

std::string_view RayVersion();     // "2.60.0": of the Ray API that programs see
std::string_view PythonVersion();  // "3.11": of the interpreters that can load the Python part; empty if there is none

}  // namespace ray_engine
