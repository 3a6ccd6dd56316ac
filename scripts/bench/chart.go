package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/go-analyze/charts"
)

// chart is a picture for the document.
type chart struct {
	file   string // name of the SVG file
	title  string
	labels []string    // along the bottom
	series []string    // names
	values [][]float64 // by series, NaN where there is none
	lines  bool        // instead of bars
}

const (
	chartWidth, chartHeight = 860, 380
	// maxLabels is how many labels fit beside each other.
	maxLabels = 12
)

// write draws the chart on a white ground, which can be read wherever it is shown.
func (c chart) write(dir string) error {
	painter := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: chartHeight,
		Theme: charts.GetTheme(charts.ThemeLight),
	})
	draw := c.drawBars
	if c.lines {
		draw = c.drawLines
	}
	if err := draw(painter); err != nil {
		return fmt.Errorf("drawing %s: %w", c.file, err)
	}
	svg, err := painter.Bytes()
	if err != nil {
		return fmt.Errorf("drawing %s: %w", c.file, err)
	}
	return os.WriteFile(filepath.Join(dir, c.file), svg, 0o600)
}

func (c chart) drawBars(painter *charts.Painter) error {
	option := charts.NewBarChartOptionWithData(c.drawable())
	option.Title, option.Legend = c.heading()
	option.CategoryAxis.Labels = c.labels
	option.ValueAxis[0].Min = new(float64)
	option.ValueFormatter = number
	for i := range option.SeriesList {
		option.SeriesList[i].Label.Show = charts.Ptr(true)
		option.SeriesList[i].Label.ValueFormatter = number
		option.SeriesList[i].Label.FontStyle.FontSize = 8
	}
	return painter.BarChart(option)
}

func (c chart) drawLines(painter *charts.Painter) error {
	option := charts.NewLineChartOptionWithData(c.drawable())
	option.Title, option.Legend = c.heading()
	option.XAxis.Labels = c.labels
	option.XAxis.LabelCount = min(len(c.labels), maxLabels)
	option.XAxis.BoundaryGap = charts.Ptr(false)
	option.YAxis[0].Min = new(float64)
	option.Symbol.Shape = charts.SymbolNone
	option.ValueFormatter = number
	return painter.LineChart(option)
}

func (c chart) heading() (charts.TitleOption, charts.LegendOption) {
	font := charts.FontStyle{FontSize: 11}
	return charts.TitleOption{Text: c.title, FontStyle: font},
		charts.LegendOption{SeriesNames: c.series, Offset: charts.OffsetRight, FontStyle: font}
}

// drawable has the library's own mark where there is no value.
func (c chart) drawable() [][]float64 {
	all := make([][]float64, len(c.values))
	for i, values := range c.values {
		all[i] = make([]float64, len(values))
		for j, value := range values {
			if all[i][j] = value; math.IsNaN(value) {
				all[i][j] = charts.GetNullValue()
			}
		}
	}
	return all
}
