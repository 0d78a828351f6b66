#!/bin/sh
# Gradient descent on x^2/20 + y^2 in awk, twenty steps: prints one JSON object per step.
# usage: descend.sh LR MOMENTUM
exec awk -v lr="$1" -v momentum="$2" 'BEGIN {
    x = 4; y = 4
    for (step = 1; step <= 20; step++) {
        vx = momentum * vx - lr * x / 10; vy = momentum * vy - lr * 2 * y
        x += vx; y += vy
        printf "{\"loss\": %.10g}\n", x * x / 20 + y * y
        fflush()
    }
}'
