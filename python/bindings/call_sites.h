// Call sites: which line of the program made a reference, for people who look for what fills the store.
//
// Called with the GIL.

#pragma once

#include "python/bindings/session.h"

namespace ray_engine::python {

extern bool records_call_sites;

// REQUIRES: records_call_sites. `how`: "put object".
void NoteCallSite(ObjectEntry* entry, const char* how);

}  // namespace ray_engine::python
