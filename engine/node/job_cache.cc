#include "engine/node/job_cache.h"

#include <utility>

namespace ray_engine {

JobCache::JobCache(Router* router) : router_(router) {
  router_->On<KvReply>([this](ProcessId, const KvReply& reply) { HandleReply(reply); });
}

void JobCache::WhenKnown(const JobId& job, Use use) {
  const auto known = known_.find(job);
  if (known != known_.end()) {
    use(&known->second);
    return;
  }
  auto& waiting = waiting_[job];
  waiting.push_back(std::move(use));
  if (waiting.size() > 1) return;
  KvRequest request;
  request.token = ++last_token_;
  request.op = KvRequest::kGet;
  request.name_space = kJobNameSpace;
  request.key = std::string(job.Binary());
  asked_[request.token] = job;
  router_->Send(kHead, request);
}

void JobCache::HandleReply(const KvReply& reply) {
  const auto asked = asked_.find(reply.token);
  if (asked == asked_.end()) return;
  const JobId job = asked->second;
  asked_.erase(asked);
  const JobInfo* info = nullptr;
  JobInfo decoded;
  if (!reply.values.empty() && Decode(reply.values.front(), &decoded)) {
    info = &(known_[job] = std::move(decoded));
    router_->Send(router_->self(), Watch{info->driver});
  }
  const auto waiting = waiting_.extract(job);
  for (const Use& use : waiting.mapped()) use(info);
}

JobId JobCache::JobOf(ProcessId driver) const {
  for (const auto& [job, info] : known_) {
    if (info.driver == driver) return job;
  }
  return JobId();
}

}  // namespace ray_engine
