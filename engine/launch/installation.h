// Installation: where the other parts of ray-engine are, seen from this executable.
//
//   build tree, Spack, CMake   <prefix>/bin/ray-engine, <prefix>/libexec/ray-engine/..., <prefix>/lib/ray-engine/python
//   wheel                      ray_engine/_bin/ray-engine and all programs beside it
//
// Immutable value type.

#pragma once

#include <absl/status/statusor.h>

#include <string>

namespace ray_engine {

struct Installation {
  std::string node_program;               // ray-engine-node
  std::string pmix_library, mpi_library;  // libray_engine_pmix.so, libray_engine_mpi.so; need not exist
  std::string python_path;                // folder that holds the package ray_engine
  std::string alias_path;                 // folder that holds the package ray
  std::string alias_programs;             // folder that holds a program ray
  bool is_wheel = false;                  // the interpreter finds the package by itself
};

// An error if something every run needs is missing.
absl::StatusOr<Installation> FindInstallation();

}  // namespace ray_engine
