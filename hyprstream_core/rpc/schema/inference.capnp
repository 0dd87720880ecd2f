# The inference service: tokens in, tokens out.
@0xe5720c9d8b3f1a04;

struct SamplingParams {
  maxTokens @0 :Int64;
  temperature @1 :Float64;
  topK @2 :Int64;
  topP @3 :Float64;
  minP @4 :Float64;
  repetitionPenalty @5 :Float64;
  presencePenalty @6 :Float64;
  frequencyPenalty @7 :Float64;
  seed :union { none @8 :Void; value @9 :Int64; }
  stopTokenIds @10 :List(Int64);
  ignoreEos @11 :Bool;
  minTokens @12 :Int64;
}

struct GenerateRequest {
  requestId @0 :Text;
  model @1 :Text;
  commit @2 :Text;
  promptIds @3 :List(Int32);
  params @4 :SamplingParams;
  eosTokenIds @5 :List(Int64);
  subject @6 :Text;
  salt @7 :Text;
}

struct TokenChunk {
  tokenIds @0 :List(Int32);
  finishReason :union { none @1 :Void; value @2 :Text; }
  cachedTokens @3 :Int64;
}

struct EngineStatus {
  ready @0 :Bool;
  running @1 :Int64;
  waiting @2 :Int64;
  forwardPasses @3 :Int64;
  generatedTokens @4 :Int64;
  promptTokens @5 :Int64;
  cachedTokens @6 :Int64;
  kvBlocksTotal @7 :Int64;
  kvBlocksFree @8 :Int64;
  loaded @9 :List(Text);
  device @10 :Text;
  started @11 :Float64;
}
