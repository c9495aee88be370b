// The only user of pmix.h. The launcher's own PMIx server introduces the ranks: one card put, one fence, all cards got.
//
// It stands beside every rank already, so no connection between ranks is made for it, unlike MPI_Init's.

#include <pmix.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/launch/bootstrap_library.h"

namespace {

constexpr char kCard[] = "ray_engine.card";

pmix_proc_t myself;
unsigned size_of_job = 0;

pmix_proc_t Process(pmix_rank_t rank) {
  pmix_proc_t process;
  PMIX_LOAD_PROCID(&process, myself.nspace, rank);
  return process;
}

// A value that the launcher knows of the process; nullptr if it does not.
pmix_value_t* Get(const pmix_proc_t& process, const char* key) {
  pmix_value_t* value = nullptr;
  return PMIx_Get(&process, key, nullptr, 0, &value) == PMIX_SUCCESS ? value : nullptr;
}

bool GetNumber(const pmix_proc_t& process, const char* key, unsigned* number) {
  pmix_value_t* value = Get(process, key);
  if (value == nullptr) return false;
  pmix_status_t status = PMIX_SUCCESS;
  PMIX_VALUE_GET_NUMBER(status, value, *number, unsigned);
  PMIX_VALUE_RELEASE(value);
  return status == PMIX_SUCCESS;
}

const char* Because(pmix_status_t status) {
  static std::string text;
  text = PMIx_Error_string(status);
  return text.c_str();
}

pmix_status_t Publish(const char* card, size_t size) {
  std::vector<char> bytes(card, card + size);
  pmix_value_t value;
  PMIX_VALUE_CONSTRUCT(&value);
  value.type = PMIX_BYTE_OBJECT;
  value.data.bo.bytes = bytes.data();  // copied by PMIx_Put
  value.data.bo.size = size;
  const pmix_status_t status = PMIx_Put(PMIX_GLOBAL, kCard, &value);
  return status == PMIX_SUCCESS ? PMIx_Commit() : status;
}

pmix_status_t MeetAll() {
  pmix_info_t collect;
  const bool yes = true;
  PMIX_INFO_LOAD(&collect, PMIX_COLLECT_DATA, &yes, PMIX_BOOL);
  return PMIx_Fence(nullptr, 0, &collect, 1);
}

bool AddCard(unsigned rank, std::string* all, int* size) {
  pmix_value_t* value = Get(Process(rank), kCard);
  if (value == nullptr) return false;
  *size = static_cast<int>(value->data.bo.size);
  all->append(value->data.bo.bytes, value->data.bo.size);
  PMIX_VALUE_RELEASE(value);
  return true;
}

}  // namespace

extern "C" {

const char* ray_engine_bootstrap_start(RayEnginePlace* place) {
  if (const pmix_status_t status = PMIx_Init(&myself, nullptr, 0); status != PMIX_SUCCESS) return Because(status);
  unsigned local_rank = 0, local_leader = 0;
  const bool known = GetNumber(Process(PMIX_RANK_WILDCARD), PMIX_JOB_SIZE, &size_of_job) &&
                     GetNumber(myself, PMIX_LOCAL_RANK, &local_rank) &&
                     GetNumber(Process(PMIX_RANK_WILDCARD), PMIX_LOCALLDR, &local_leader);
  if (!known) return "the launcher does not tell the number of ranks and their places";
  *place = {static_cast<int>(myself.rank), static_cast<int>(size_of_job), static_cast<int>(local_rank),
            static_cast<int>(local_leader)};
  return nullptr;
}

char* ray_engine_bootstrap_exchange(const char* mine, size_t size, int* sizes) {
  if (Publish(mine, size) != PMIX_SUCCESS || MeetAll() != PMIX_SUCCESS) return nullptr;
  std::string all;
  for (unsigned rank = 0; rank < size_of_job; ++rank)
    if (!AddCard(rank, &all, &sizes[rank])) return nullptr;
  char* copy = static_cast<char*>(malloc(all.size() + 1));
  if (copy != nullptr) memcpy(copy, all.data(), all.size());
  return copy;
}

void ray_engine_bootstrap_finish(void) { PMIx_Finalize(nullptr, 0); }

const char* ray_engine_bootstrap_version(void) {
  static std::string text;
  text = PMIx_Get_version();  // "OpenPMIx 4.2.2 (PMIx Standard: 4.1, ...)"
  text.resize(std::min(text.find_first_of("\n,("), text.size()));
  text.resize(text.find_last_not_of(' ') + 1);
  return text.c_str();
}

}  // extern "C"
