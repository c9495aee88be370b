// KvTable: the session's key-value table. Lives on the head.
//
// Pure bookkeeping. Loop-bound.

#pragma once

#include <map>
#include <string>
#include <utility>

#include "engine/wire/messages.h"

namespace ray_engine {

class KvTable {
 public:
  KvReply Apply(const KvRequest& request);
  std::size_t size() const { return values_.size(); }

 private:
  using Key = std::pair<std::string, std::string>;  // (name space, key)
  void List(const KvRequest& request, KvReply* reply) const;

  std::map<Key, std::string> values_;
};

}  // namespace ray_engine
