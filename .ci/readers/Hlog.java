// Reads a .hlog with Java's HdrHistogram: per tag its count, its value of rank ceil(0.99 n), and its maximum.

import java.io.File;
import java.util.TreeMap;
import org.HdrHistogram.EncodableHistogram;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

public class Hlog {
    public static void main(String[] arguments) throws Exception {
        TreeMap<String, Histogram> sums = new TreeMap<>();
        HistogramLogReader reader = new HistogramLogReader(new File(arguments[0]));
        for (EncodableHistogram interval; (interval = reader.nextIntervalHistogram()) != null; ) {
            sums.computeIfAbsent(interval.getTag(), tag -> new Histogram(3)).add((Histogram) interval);
        }
        sums.forEach((tag, histogram) -> {
            long count = histogram.getTotalCount();
            if (count > 0) {
                double rank = 100.0 * Math.ceil(0.99 * count) / count;
                System.out.println(tag + " " + count + " " + histogram.getValueAtPercentile(rank) + " " + histogram.getMaxValue());
            }
        });
    }
}
