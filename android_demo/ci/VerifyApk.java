import com.android.apksig.ApkVerifier;
import java.io.File;

/** VerifyApk APK: whether its signature holds on all the Android versions that the app is for. */
public class VerifyApk {
    public static void main(String[] arguments) throws Exception {
        ApkVerifier.Result result = new ApkVerifier.Builder(new File(arguments[0])).build().verify();
        result.getAllErrors().forEach(System.err::println);
        System.out.printf(
            "signature: %s (v2 %s, v3 %s)%n",
            result.isVerified() ? "holds" : "does not hold",
            result.isVerifiedUsingV2Scheme(),
            result.isVerifiedUsingV3Scheme());
        System.exit(result.isVerified() ? 0 : 1);
    }
}
