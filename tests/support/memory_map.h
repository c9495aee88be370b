// What /proc says about a mapping of this process.

#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

namespace ray_engine {

// True if the mapping that starts at `begin` has this flag of proc(5), /proc/PID/smaps, VmFlags.
inline bool HasMappingFlag(const void* begin, const std::string& wanted) {
  std::ifstream maps("/proc/self/smaps");
  bool there = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
      there = from == reinterpret_cast<std::uintptr_t>(begin);
    if (!there || line.compare(0, 8, "VmFlags:") != 0) continue;
    std::istringstream flags(line);
    for (std::string flag; flags >> flag;) {
      if (flag == wanted) return true;
    }
  }
  return false;
}

inline bool LeftOutOfCoreFiles(const void* begin) { return HasMappingFlag(begin, "dd"); }

}  // namespace ray_engine
