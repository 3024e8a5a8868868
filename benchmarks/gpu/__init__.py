"""Jobs for a CUDA machine: each checks, measures, prints a short table and writes its numbers. See README.md."""
