package main

import "fmt"

// memoryCharts show the process that an engine is in: Vault's server for the
// built-in one.
func (r results) memoryCharts() []chart {
	c := chart{
		file: "memory.svg", title: "Resident memory, MB, by live users",
		series: []string{"Vault with " + builtIn, "Vault with " + ours, "the plugin"}, values: make([][]float64, 3),
	}
	for _, row := range r.Memory {
		if row.Engine == builtIn {
			c.labels = append(c.labels, number(float64(row.Users)))
			c.values[0] = append(c.values[0], float64(row.Server.RSS)/1e6)
			continue
		}
		c.values[1] = append(c.values[1], float64(row.Server.RSS)/1e6)
		if row.Plugin != nil {
			c.values[2] = append(c.values[2], float64(row.Plugin.RSS)/1e6)
		}
	}
	return []chart{c}
}

func (r results) soakCharts() []chart {
	c := chart{
		file: "soak.svg", title: "The plugin's process under steady load, by seconds", lines: true,
		series: []string{"MB resident", "open files", "TCP connections", "threads"}, values: make([][]float64, 4),
	}
	for _, s := range r.Soak.Samples {
		c.labels = append(c.labels, fmt.Sprintf("%.0f", s.At))
		for i, value := range []float64{float64(s.RSS) / 1e6, float64(s.Files), float64(s.Connections), float64(s.Threads)} {
			c.values[i] = append(c.values[i], value)
		}
	}
	return []chart{c}
}
