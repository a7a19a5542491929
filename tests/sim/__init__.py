"""Deterministic simulation: machines, hostile service, network, disks and clocks in one world.

Every world follows from one seed, as in the simulations of FoundationDB and TigerBeetle: what is
random is drawn from a tape (library simloom), so a failing seed replays and shrinks.

    python -m tests.sim --runs 1000 --jobs 2          # many worlds; violations by law, with seeds
    python -m tests.sim --seed 17 --log               # one world and its story
    python -m tests.sim --seed 17 --shrink 200        # the smallest world that breaks the same law
"""
