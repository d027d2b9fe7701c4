"""`python -m data_sim.layouts`; see data_sim.layouts.read."""

from data_sim.layouts.read import main

main()
