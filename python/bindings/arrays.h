// Arrays that live in the store from the start: ray_engine.empty(), and what becomes of them when they are stored.
//
// Called with the GIL.

#pragma once

#include <memory>

#include "python/bindings/session.h"

namespace ray_engine::python {

// If `value` is an array of empty() as it was made, and its encoded form lies in the store for the most part: the room
// where it does. The array is read-only from now on; the caller is to store it. Null for everything else, which is
// copied: views and slices, an array with other views (through which it could be written later), one stored before.
std::shared_ptr<Pin> TakeRoom(nb::handle value, const ValuePieces& pieces);

}  // namespace ray_engine::python
