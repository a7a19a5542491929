"""Deterministic simulation: machines, a hostile service, network, disks and clocks in one world.

A world is determined by its seed, as in the simulations of FoundationDB and TigerBeetle: all
random choices are drawn from a tape (library simloom), so a failing seed can be replayed and
shrunk.

    python -m tests.sim --runs 1000 --jobs 2          # many worlds; violations with seeds
    python -m tests.sim --seed 17 --log               # one world and its log
    python -m tests.sim --seed 17 --shrink 200        # the smallest world with the same violation
"""
