// Version of the HDF5 library loaded. Its .cc is the only user of hdf5.h.

#pragma once

#include <string>

namespace ray_engine {

std::string Hdf5Version();

}  // namespace ray_engine
