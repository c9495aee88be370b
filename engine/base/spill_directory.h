// Where a node puts what its object store has no room for, unless --spill-directory says so.
//
// Thread-safe.

#pragma once

#include <absl/status/status.h>

#include <string>

#include "engine/base/process.h"

namespace ray_engine {

// The first of SLURM_TMPDIR, TMPDIR, /tmp and /var/tmp that can be written and does not lie in memory itself; the first
// that can be written if all do.
std::string DefaultSpillDirectory(const Environment& environment);

// Whether files can be made there and there is room for them.
absl::Status CheckSpillDirectory(const std::string& path);

}  // namespace ray_engine
