# The registry service: which models there are, and what the front must know to speak for one.
@0xa9d47e3f10b65c03;

using Common = import "common.capnp";

struct RefRequest {
  ref @0 :Text;
}

struct ModelInfo {
  id @0 :Text;
  name @1 :Text;
  ref @2 :Text;
  kind @3 :Text;
  commit @4 :Text;
  uuid @5 :Text;
  created @6 :Int64;
  driver @7 :Text;
  savedBytes @8 :Int64;
  worktreeCreated @9 :Int64;
  root @10 :Text;
  parent @11 :Text;
  maxModelLen @12 :Int64;
  dtype @13 :Text;
  numParameters @14 :Int64;
  architecture @15 :Text;
  status @16 :Text;
}

struct ModelList {
  models @0 :List(ModelInfo);
}

struct Description {
  model @0 :Text;
  commit @1 :Text;
  directory @2 :Text;
  template @3 :Text;
  generationConfig @4 :List(Common.NumberEntry);
  eosTokenIds @5 :List(Int64);
  maxModelLen @6 :Int64;
  vocabSize @7 :Int64;
  dtype @8 :Text;
}
