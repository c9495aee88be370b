#include "engine/node/kv_table.h"

namespace ray_engine {

KvReply KvTable::Apply(const KvRequest& request) {
  KvReply reply;
  reply.token = request.token;
  const Key key(request.name_space, request.key);
  const auto it = values_.find(key);
  switch (request.op) {
    case KvRequest::kGet:
      reply.found = it != values_.end();
      if (reply.found) reply.values.push_back(it->second);
      break;
    case KvRequest::kPut:
    case KvRequest::kPutIfAbsent:
      reply.found = it == values_.end();
      if (reply.found || request.op == KvRequest::kPut) values_[key] = request.value;
      break;
    case KvRequest::kDelete:
      reply.found = values_.erase(key) != 0;
      break;
    case KvRequest::kList:
      List(request, &reply);
      break;
  }
  return reply;
}

void KvTable::List(const KvRequest& request, KvReply* reply) const {
  for (auto it = values_.lower_bound(Key(request.name_space, request.key)); it != values_.end(); ++it) {
    if (it->first.first != request.name_space || it->first.second.compare(0, request.key.size(), request.key) != 0)
      break;
    reply->values.push_back(it->first.second);
  }
  reply->found = !reply->values.empty();
}

}  // namespace ray_engine
