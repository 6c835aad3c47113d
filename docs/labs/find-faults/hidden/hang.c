// It stands still everywhere: that is no finding.
int main(void) {
    for (;;)
        ;
}
