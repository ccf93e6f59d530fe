"""What is asked: arrivals, lengths, sessions, traces.

`workload` is what people write; `sample.sample` draws its requests. Arrival processes are in `arrivals`, length laws in
`lengths`, classes of traffic in `traffic`, what prompts share in `prompts.prefixes`, conversations and agents in
`prompts.sessions`.

In `traces` a trace goes from `readers` (files) through `columns` (which column is what), `times` and `block_hashes` (units of
time and of hash ids) and `cleaning` (what is broken) to a recording, which `replay` replays; `fit` tells what is in it.

The same workload and seed give the same requests, whatever they are served on: see `streams`.
"""
