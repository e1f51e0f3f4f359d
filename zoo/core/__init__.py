"""What every family shares: configuration, training loop, states, releases, data, benchmarks, tables. Knows no family."""
