// Accelerators: the families of devices that are given out one by one, and the environment variables that say which of
// them a program may see.
//
// The table is the only place that knows the families. A unit resource is one whose amounts stand for things with
// numbers: a task with {GPU: 1} gets a certain GPU.
//
// Immutable; what looks at the machine takes the folder that stands for "/".

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/process.h"

namespace ray_engine {

struct AcceleratorFamily {
  const char* resource;  // "GPU"
  const char* variable;  // lists what is visible: CUDA_VISIBLE_DEVICES
  const char* noset;     // where this variable is true, nobody touches the other
  const char* type;      // accelerator_type of all its devices; empty: they differ
  bool whole;            // its units cannot be shared
};

// One family per resource. There are several makers of GPUs: the one whose devices are there, else the one whose
// variable is set, else NVIDIA.
std::vector<AcceleratorFamily> Accelerators(const Environment& environment, const std::filesystem::path& root = "/");

// What the variable of the family lists; nothing if it is not set, so that all are visible.
std::optional<std::vector<std::string>> VisibleIds(const AcceleratorFamily& family, const Environment& environment);

// GPUs that this process may use.
int CountGpus(const Environment& environment, const std::filesystem::path& root = "/");

// "H100", or what the family's devices all are; empty if unknown.
std::string AcceleratorType(const AcceleratorFamily& family, const std::filesystem::path& root = "/");

// The unit resources: GPU, and those of the families or, if it is set, of RAY_custom_unit_instance_resources (a list
// with commas). Of this process, read once.
const std::vector<std::string>& UnitResources();
bool IsUnitResource(std::string_view name);

}  // namespace ray_engine
