"""What is asked: arrivals, lengths, sessions, traces.

`workload` is what people write; `sampling.sample` draws its requests. Arrival processes are in `arrivals` and `varying`,
length laws in `lengths` and `continuous`, classes of traffic in `traffic`, what prompts share in `prefixes`, conversations
and agents in `sessions`.

A trace goes from `readers` (files) through `layouts` (which column is what), `clocks` and `blocks` (units of time and of hash
ids) and `cleaning` (what is broken) to a recording, which `traces` replays; `portraits`, `reuse` and `fitting` tell what is
in it.

The same workload and seed give the same requests, whatever they are served on: see `streams`.
"""
